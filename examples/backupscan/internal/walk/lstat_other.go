//go:build !linux && !darwin && !windows

package walk

import "os"

// lstat tells what is portable.
func lstat(path string) (Stat, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return Stat{}, err
	}
	return Stat{
		Mode: info.Mode().Type(), Perm: uint32(info.Mode().Perm()), Size: info.Size(), Allocated: -1,
		Modified: info.ModTime().UTC(),
	}, nil
}
