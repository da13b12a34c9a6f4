package speech

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"waihu/agent"
	"waihu/audio"
)

// Prompts are recordings of texts. The shipped ones and the operator's are found by the same name: PromptName(text) + ".wav".

//go:embed prompts/*.wav
var shippedFiles embed.FS

// PromptName is the name of the file (without .wav) that holds a text's recording. Punctuation at the
// ends does not count, as it has no sound.
func PromptName(text string) string {
	h := sha256.Sum256([]byte(promptKey(text)))
	return hex.EncodeToString(h[:8])
}

func promptKey(text string) string {
	text = strings.Join(strings.Fields(agent.Speakable(text)), " ")
	for text != "" {
		r, n := utf8.DecodeLastRuneInString(text)
		if agent.Speakable(string(r)) != "" {
			break
		}
		text = text[:len(text)-n]
	}
	return text
}

func shippedHas(text string) bool {
	_, err := fs.Stat(shippedFiles, "prompts/"+PromptName(text)+".wav")
	return err == nil
}

// shipped is a text's recording in the binary, nil when there is none.
func shipped(text string) []int16 {
	b, err := shippedFiles.ReadFile("prompts/" + PromptName(text) + ".wav")
	if err != nil {
		return nil
	}
	w, err := audio.ReadWAV(b)
	if err != nil {
		return nil
	}
	return trim(w.Mono())
}

// Folder is an operator's folder of WAV recordings. A recording belongs to a text by its name
// (PromptName) or by index.yaml, a map of text to file name; play names files directly.
type Folder struct {
	dir   string
	index map[string]string // file by promptKey
}

// OpenFolder reads a folder's index. Recordings are read when they are wanted, so new files count at once.
func OpenFolder(dir string) (*Folder, error) {
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		err = errors.New("not a folder")
	}
	if err != nil {
		return nil, fmt.Errorf("prompts folder %s: %w", dir, err)
	}
	f := &Folder{dir: dir, index: map[string]string{}}
	raw, err := readFile(filepath.Join(dir, "index.yaml"))
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return nil, fmt.Errorf("prompts index: %w", err)
	}
	var texts map[string]string
	if err := yaml.Unmarshal(raw, &texts); err != nil {
		return nil, fmt.Errorf("prompts index %s: a map of text to file was expected: %w", filepath.Join(dir, "index.yaml"), err)
	}
	for text, name := range texts {
		if _, err := f.path(name); err != nil {
			return nil, fmt.Errorf("prompts index, text %q: %w", shorten(text), err)
		}
		f.index[promptKey(text)] = name
	}
	return f, nil
}

// path is where a recording of that name lies; names never leave the folder.
func (f *Folder) path(name string) (string, error) {
	if filepath.Ext(name) == "" {
		name += ".wav"
	}
	if !filepath.IsLocal(name) {
		return "", fmt.Errorf("%q is not a file inside the folder", name)
	}
	return filepath.Join(f.dir, name), nil
}

func (f *Folder) textPath(text string) string {
	if name, ok := f.index[promptKey(text)]; ok {
		path, _ := f.path(name) // checked at open
		return path
	}
	return filepath.Join(f.dir, PromptName(text)+".wav")
}

func (f *Folder) has(text string) bool {
	_, err := os.Stat(f.textPath(text))
	return err == nil
}

// text is the recording of a text; nil when there is none.
func (f *Folder) text(text string) ([]int16, error) {
	pcm, err := read(f.textPath(text))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		if pcm = trim(pcm); len(pcm) == 0 {
			err = fmt.Errorf("prompt %s: it is silent", filepath.Base(f.textPath(text)))
		}
	}
	return pcm, err
}

// file is the recording of that name, as it is: its silences and its level are the operator's.
func (f *Folder) file(name string) ([]int16, error) {
	path, err := f.path(name)
	if err != nil {
		return nil, err
	}
	return read(path)
}

func read(path string) ([]int16, error) {
	b, err := readFile(path)
	if err != nil {
		return nil, fmt.Errorf("prompt %s: %w", filepath.Base(path), err)
	}
	w, err := audio.ReadWAV(b)
	if err != nil {
		return nil, fmt.Errorf("prompt %s: %w", filepath.Base(path), err)
	}
	pcm := audio.Resample(w.Mono(), w.Rate, audio.SampleRate)
	if len(pcm) == 0 {
		return nil, fmt.Errorf("prompt %s: it has no sound", filepath.Base(path))
	}
	return pcm, nil
}
