//go:build !linux

package media

// LeadsSession matters to RaiseSession alone.
func LeadsSession() bool { return false }

// RaiseSession has nothing portable to ask for.
func RaiseSession() (lower func()) { return func() {} }
