package sip

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"

	"waihu"
)

// journal is the file of dialogs that stand, so that the next process can end what a
// dead one left. One JSON object a line: a head with the salt of the derived
// identifiers, then "add" and "end" lines. It is written without sync: it need
// outlive the process, not the machine, whose fall ends the carrier's patience too.
//
// It holds phone numbers and is readable by its owner alone.
type journal struct {
	path string
	salt []byte
	lost bool // there was no file: identifiers of earlier processes cannot be derived
	log  *slog.Logger

	mu   sync.Mutex
	f    *os.File
	live map[waihu.CallID]entry
	dead int
	err  error // first write error: calls go on, but the next process could not end those of this one
}

// entry is what addressing a confirmed dialog takes beside what derives from the call id.
type entry struct {
	Call   waihu.CallID `json:"call"`
	To     string       `json:"to"`
	Target string       `json:"target"`
	Routes []string     `json:"routes,omitempty"`
	Seq    uint32       `json:"seq"`
}

type journalLine struct {
	Version int          `json:"waihu_sip_journal,omitempty"`
	Salt    string       `json:"salt,omitempty"`
	Add     *entry       `json:"add,omitempty"`
	End     waihu.CallID `json:"end,omitempty"`
}

const (
	journalVersion = 1
	saltBytes      = 16
	// compactAt bounds the dead lines that a journal carries along.
	compactAt = 1024
)

func openJournal(path string, log *slog.Logger) (*journal, error) {
	j := &journal{path: path, log: log, live: map[waihu.CallID]entry{}, salt: make([]byte, saltBytes)}
	if _, err := rand.Read(j.salt); err != nil {
		return nil, fmt.Errorf("sip: %w", err)
	}
	if path == "" {
		return j, nil
	}
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		j.lost = true
	case err != nil:
		return nil, fmt.Errorf("sip: read the journal: %w", err)
	default:
		if err := j.replay(data); err != nil {
			return nil, fmt.Errorf("sip: journal %s: %w", path, err)
		}
	}
	if err := j.rewrite(); err != nil {
		return nil, fmt.Errorf("sip: %w", err)
	}
	return j, nil
}

// replay reads a journal's lines. A torn last line is what a kill leaves and is passed over.
func (j *journal) replay(data []byte) error {
	sc := bufio.NewScanner(bytes.NewReader(data))
	sc.Buffer(nil, 1<<20)
	n, torn := 0, error(nil)
	for sc.Scan() {
		if len(bytes.TrimSpace(sc.Bytes())) == 0 {
			continue
		}
		n++
		if torn != nil {
			return torn
		}
		var l journalLine
		if err := json.Unmarshal(sc.Bytes(), &l); err != nil {
			torn = fmt.Errorf("line %d: %w", n, err)
			continue
		}
		if n == 1 {
			salt, err := hex.DecodeString(l.Salt)
			if l.Version != journalVersion || err != nil || len(salt) != saltBytes {
				return fmt.Errorf("line 1 is not the head of a version %d journal", journalVersion)
			}
			j.salt = salt
			continue
		}
		switch {
		case l.Add != nil && l.Add.Call > 0:
			j.live[l.Add.Call] = *l.Add
		case l.End > 0:
			delete(j.live, l.End)
		}
	}
	if err := sc.Err(); err != nil {
		return err
	}
	if n <= 1 && torn != nil {
		return torn // the head itself is unreadable: some other file
	}
	return nil
}

// rewrite replaces the file by one with the live entries alone.
func (j *journal) rewrite() error {
	tmp := j.path + ".new"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	_ = enc.Encode(journalLine{Version: journalVersion, Salt: hex.EncodeToString(j.salt)})
	for _, e := range j.live {
		_ = enc.Encode(journalLine{Add: &e})
	}
	if _, err = f.Write(buf.Bytes()); err == nil {
		err = os.Rename(tmp, j.path)
	}
	if err != nil {
		f.Close()
		return fmt.Errorf("write the journal: %w", err)
	}
	if j.f != nil {
		j.f.Close()
	}
	j.f, j.dead = f, 0
	return nil
}

func (j *journal) add(e entry) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.live[e.Call] = e
	j.appendLocked(journalLine{Add: &e})
}

func (j *journal) remove(id waihu.CallID) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, ok := j.live[id]; !ok {
		return
	}
	delete(j.live, id)
	j.appendLocked(journalLine{End: id})
	j.dead += 2
	if j.f != nil && j.dead > compactAt && j.dead > 4*len(j.live) {
		if err := j.rewrite(); err != nil {
			j.failLocked(err)
		}
	}
}

func (j *journal) appendLocked(l journalLine) {
	if j.f == nil {
		return
	}
	b, err := json.Marshal(l)
	if err == nil {
		_, err = j.f.Write(append(b, '\n')) // one write: a kill tears at most the last line
	}
	if err != nil {
		j.failLocked(fmt.Errorf("write the journal: %w", err))
	}
}

func (j *journal) failLocked(err error) {
	if j.err == nil {
		j.err = err
		j.log.Error("calls of this process could not be ended by the next", "error", err)
	}
}

func (j *journal) get(id waihu.CallID) (entry, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e, ok := j.live[id]
	return e, ok
}

func (j *journal) close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.f == nil {
		return j.err
	}
	err := j.f.Close()
	j.f = nil
	return errors.Join(j.err, err)
}

// compact drops what the file says of dialogs that are over: their phone numbers go with it.
func (j *journal) compact() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.f == nil {
		return nil
	}
	return j.rewrite()
}

// ForgetOrphan drops what the journal says of a dead process' call that nothing can end any more.
func (e *Endpoint) ForgetOrphan(id waihu.CallID) { e.journal.remove(id) }

// CompactJournal rewrites the journal with the dialogs that stand alone: nothing of one that is over stays in it.
func (e *Endpoint) CompactJournal() error { return e.journal.compact() }

// CompactJournal is Endpoint.CompactJournal for a journal that no endpoint has open.
func CompactJournal(path string) error {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	j, err := openJournal(path, slog.New(slog.DiscardHandler)) // which rewrites it
	if err != nil {
		return err
	}
	return j.close()
}
