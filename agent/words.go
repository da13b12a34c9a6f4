package agent

import (
	"strings"
	"unicode/utf8"
)

// What partial words tell the turn engine.

// backchannels are said while listening; alone they interrupt nothing.
var backchannels = mustMatcher("嗯", "哦", "噢", "啊", "对", "好", "好的", "是", "是的", "喂", "行", "嗯嗯", "uh-huh", "mhm", "yeah", "ok", "okay", "right")

func backchannel(text string) bool {
	whole := strings.Join(clausesRaw(text), "")
	for i := range backchannels.words {
		if whole == backchannels.words[i].text {
			return true
		}
	}
	return false
}

// stoppers interrupt as soon as they are heard.
var stoppers = mustMatcher("等一下", "等等", "停", "别说了", "不需要", "别打了", "你是谁", "stop", "wait", "hold on")

func interrupts(text string) bool {
	_, ok := stoppers.find(clauses(text))
	return ok
}

// endsClearly says that the words sound finished.
func endsClearly(text string) bool {
	s := strings.TrimSpace(text)
	for _, end := range []string{"了", "吗", "吧", "的", "呢", "。", "？", "！", ".", "?", "!"} {
		if strings.HasSuffix(s, end) {
			return true
		}
	}
	return false
}

// endsOpenly says that more words must follow.
func endsOpenly(text string) bool {
	s := strings.TrimSpace(text)
	if r := lastRune(s); r >= '0' && r <= '9' || strings.ContainsRune("零一二三四五六七八九十百千", r) {
		return true
	}
	for _, end := range []string{"那个", "就是", "然后", "但是", "因为", "还有", "and", "but", "because"} {
		if strings.HasSuffix(s, end) {
			return true
		}
	}
	return false
}

// letters counts what was said: characters of Chinese, words of anything else.
func letters(text string) int {
	n, word := 0, false
	for _, r := range fold(text) {
		switch {
		case latin(r):
			if !word {
				n++
			}
			word = true
			continue
		case r >= 0x2E80 && !silentRune(r) && utf8.RuneLen(r) > 1:
			n++
		}
		word = false
	}
	return n
}
