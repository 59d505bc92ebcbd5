variable "region" {
  description = "Where the backups are kept."
  type        = string
  default     = "eu-central-1"
}
