//go:build !windows

package fsys

const dirsCanSync = true
