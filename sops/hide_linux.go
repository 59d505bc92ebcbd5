package main

import "golang.org/x/sys/unix"

// hide keeps this process' memory from core files and from other processes of the same user.
func hide() error {
	return unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
}
