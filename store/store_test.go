package store

import (
	"strings"
	"testing"
)

func TestFolderLock(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(t.Context(), Options{Dir: dir, Role: "waihu serve"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = Open(t.Context(), Options{Dir: dir})
	if err == nil || !strings.Contains(err.Error(), "in use by waihu serve (process ") {
		t.Fatalf("a second Open of one folder: %v, want an error naming the process", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, err = Open(t.Context(), Options{Dir: dir})
	if err != nil {
		t.Fatalf("open again after Close: %v", err)
	}
	s.Close()
}
