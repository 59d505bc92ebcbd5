output "backups" {
  description = "The bucket that holds the backups."
  value       = aws_s3_bucket.backups.bucket
}
