package speech

import (
	"container/list"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sync"

	"waihu/agent"
)

// cache keeps sounds up to a number of bytes; the one unused longest goes first.
// A sound larger than the whole cache is not kept.
type cache struct {
	limit int64

	mu    sync.Mutex
	used  int64
	byKey map[string]*list.Element // of sound
	order *list.List               // most recent first
}

type sound struct {
	key string
	pcm []int16
}

// overhead is what an entry costs beside its samples: key, list and map.
const overhead = 256

func newCache(limit int64) *cache {
	return &cache{limit: limit, byKey: map[string]*list.Element{}, order: list.New()}
}

func (s *sound) size() int64 { return int64(2*len(s.pcm) + overhead) }

func (c *cache) get(key string) []int16 {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.byKey[key]
	if e == nil {
		return nil
	}
	c.order.MoveToFront(e)
	return e.Value.(*sound).pcm
}

func (c *cache) put(key string, pcm []int16) {
	s := &sound{key, pcm}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byKey[key] != nil || s.size() > c.limit {
		return
	}
	c.byKey[key] = c.order.PushFront(s)
	c.used += s.size()
	for c.used > c.limit {
		old := c.order.Remove(c.order.Back()).(*sound)
		delete(c.byKey, old.key)
		c.used -= old.size()
	}
}

// cacheKey names a sound by all that makes it.
func cacheKey(v agent.Voice, text string) string {
	h := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%s\x00%g\x00%d\x00%s", v.Language, v.TTS, v.Name, v.Speed, v.Volume, text))
	return hex.EncodeToString(h[:16])
}
