package agent

import (
	"regexp"
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/width"
)

// How a callee's words are compared with an intent's keywords.
//
// Words are normalised (full width to narrow, lower case, the commonest traditional characters
// to simplified), cut into clauses at punctuation, and each clause loses its leading fillers.
// A keyword matches a whole text (exact) or a part of a clause (contains), where
//
//   - a keyword directly after a negation does not count (不可以 is no 可以), nor one in a
//     question of the form 好不好; a keyword that itself begins with the negation does count;
//   - a keyword of one character must be the clause, or begin it before a particle
//     (是的 is 是; 但是我很忙 is not);
//   - a keyword in letters must stand as a word (no is not in now).
//
// Among the intents that match, an exact match comes first, then a keyword that denies,
// then the longest, then the one written first.

// negations deny what follows them directly; longer ones first.
var negations = []string{"不是", "没有", "不太", "不要", "不能", "不会", "不想", "不用", "不需", "并非", "从未",
	"不", "没", "别", "未", "非", "勿", "not ", "don't ", "no ", "never "}

// positives begin with a negation but deny nothing.
var positives = []string{"没问题", "没关系", "没事", "没错", "不错", "不客气", "不要紧", "没意见", "no problem"}

// fillers are dropped from the front of a clause when something follows them.
var fillers = []string{"那个", "这个", "就是说", "就是", "嗯", "呃", "额", "啊", "哦", "噢", "喔", "唉", "哎", "喂", "um ", "uh ", "well "}

// particles may follow a keyword of one character.
const particles = "的啊呀哦呢吧了嘛哈滴得"

// simplified maps the traditional characters that telephone talk is most likely to use.
var simplified = strings.NewReplacer(func() []string {
	const pairs = "嗎吗沒没問问題题對对請请說说話话電电謝谢這这個个們们來来時时間间聽听買买賣卖錢钱貨货壞坏損损開开關关見见還还給给讓让" +
		"幫帮應应該该會会麼么為为喚唤誰谁樣样點点後后過过裡里裏里邊边麵面興兴趣趣認认識识訴诉擾扰煩烦騙骗錯错講讲訂订單单據据務务費费號号碼码" +
		"帳账賬账還还歡欢愛爱實实現现經经無无從从長长門门車车東东條条業业萬万與与專专區区醫医員员國国場场學学並并動动區区歲岁"
	var out []string
	r := []rune(pairs)
	for i := 0; i+1 < len(r); i += 2 {
		out = append(out, string(r[i]), string(r[i+1]))
	}
	return out
}()...)

// fold is the comparison form of a text, punctuation included.
func fold(s string) string {
	return simplified.Replace(strings.ToLower(width.Narrow.String(strings.ToValidUTF8(s, ""))))
}

// clauses normalises a callee's words. The result has no empty clause; it is empty when nothing is left.
func clauses(s string) []string {
	var out []string
	for _, c := range strings.FieldsFunc(fold(s), func(r rune) bool {
		return r != '\'' && (unicode.IsPunct(r) || unicode.IsSymbol(r) || unicode.IsControl(r))
	}) {
		c = squeeze(c)
		for cut := true; cut; {
			cut = false
			for _, f := range fillers {
				if rest := strings.TrimSpace(strings.TrimPrefix(c, f)); rest != c && rest != "" && strings.HasPrefix(c, f) {
					c, cut = rest, true
					break
				}
			}
		}
		if c != "" {
			out = append(out, c)
		}
	}
	return out
}

// squeeze removes spaces, except between two latin words where it leaves one.
func squeeze(s string) string {
	var b strings.Builder
	prev := rune(0)
	space := false
	for _, r := range s {
		if unicode.IsSpace(r) {
			space = true
			continue
		}
		if space && latin(prev) && latin(r) {
			b.WriteByte(' ')
		}
		space = false
		b.WriteRune(r)
		prev = r
	}
	return b.String()
}

func latin(r rune) bool {
	return r < 0x2E80 && (unicode.IsLetter(r) || unicode.IsDigit(r) || r == '\'')
}

// keyword is one word of an intent, made ready.
type keyword struct {
	text   string // normalised
	runes  int
	denies bool
}

func newKeyword(s string) (keyword, bool) {
	k := keyword{text: strings.Join(clausesRaw(s), "")}
	k.runes = utf8.RuneCountInString(k.text)
	k.denies = startsWithAny(k.text, negations) && !startsWithAny(k.text, positives)
	return k, k.text != ""
}

// clausesRaw is clauses without the removal of fillers: a keyword may be a filler.
func clausesRaw(s string) []string {
	out := strings.FieldsFunc(fold(s), func(r rune) bool {
		return r != '\'' && (unicode.IsPunct(r) || unicode.IsSymbol(r) || unicode.IsControl(r))
	})
	for i := range out {
		out[i] = squeeze(out[i])
	}
	return out
}

func startsWithAny(s string, list []string) bool {
	for _, p := range list {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}

// in says whether the keyword stands in the clause and is meant.
func (k *keyword) in(clause string) bool {
	if k.runes == 1 && !latin(firstRune(k.text)) {
		rest := strings.TrimPrefix(clause, k.text)
		if rest == clause {
			return false
		}
		// 是, 是是是, 是的
		return strings.Trim(strings.ReplaceAll(rest, k.text, ""), particles) == ""
	}
	for from := 0; ; {
		i := strings.Index(clause[from:], k.text)
		if i < 0 {
			return false
		}
		i += from
		if k.meant(clause, i) {
			return true
		}
		_, n := utf8.DecodeRuneInString(clause[i:])
		from = i + n
	}
}

// meant judges the occurrence of the keyword at i.
func (k *keyword) meant(clause string, i int) bool {
	before, after := clause[:i], clause[i+len(k.text):]
	first, last := firstRune(k.text), lastRune(k.text)
	if latin(first) && latin(lastRune(before)) || latin(last) && latin(firstRune(after)) {
		return false
	}
	for _, n := range negations {
		if strings.HasSuffix(before, n) {
			// 是不是坏了 asks, it does not deny; 好不好 of the keyword itself is a question too.
			head := strings.TrimSuffix(before, n)
			if r := lastRune(n); len(n) > 3 && lastRune(head) == r && !latin(r) {
				return true
			}
			return false
		}
	}
	if r, n := utf8.DecodeRuneInString(after); r == '不' || r == '没' {
		if firstRune(after[n:]) == first && !k.denies {
			return false // 好不好, 完好不完好
		}
	}
	return true
}

func firstRune(s string) rune { r, _ := utf8.DecodeRuneInString(s); return r }
func lastRune(s string) rune  { r, _ := utf8.DecodeLastRuneInString(s); return r }

// matcher is an intent made ready.
type matcher struct {
	words []keyword
	regex []*regexp.Regexp
}

// match is how an intent was found in a text.
type match struct {
	how    string // exact, contains, regex
	word   string
	length int
	denies bool
}

// better says whether a comes before b.
func (a match) better(b match) bool {
	if (a.how == "exact") != (b.how == "exact") {
		return a.how == "exact"
	}
	if a.denies != b.denies {
		return a.denies
	}
	return a.length > b.length
}

// find looks for the intent in normalised clauses.
func (m *matcher) find(cl []string) (best match, ok bool) {
	take := func(c match) {
		if !ok || c.better(best) {
			best, ok = c, true
		}
	}
	whole := strings.Join(cl, "")
	for i := range m.words {
		k := &m.words[i]
		if whole == k.text {
			take(match{"exact", k.text, k.runes, k.denies})
			continue
		}
		for _, c := range cl {
			if k.in(c) {
				take(match{"contains", k.text, k.runes, k.denies})
				break
			}
		}
	}
	spaced := strings.Join(cl, " ")
	for _, re := range m.regex {
		if at := re.FindStringIndex(spaced); at != nil && at[1] > at[0] {
			take(match{"regex", re.String(), utf8.RuneCountInString(spaced[at[0]:at[1]]), false})
		}
	}
	return best, ok
}

// Words for the two classes of answers that grade rules count whatever the intents are
// called: an intent's name decides first, then the words.
var (
	affirmNames = []string{"yes", "affirm", "agree", "accept", "confirm", "ok", "肯定", "同意", "愿意", "确认"}
	refuseNames = []string{"no", "refuse", "reject", "deny", "stop", "decline", "否定", "拒绝", "不愿意", "投诉"}

	affirmWords = mustMatcher("是", "对", "好", "行", "嗯", "可以", "好的", "是的", "没问题", "愿意", "同意", "方便", "没错", "当然", "yes", "ok", "okay", "sure", "yeah")
	refuseWords = mustMatcher("不", "不是", "不用", "不要", "不需要", "不行", "不可以", "不方便", "不愿意", "没兴趣", "没空", "没时间", "不考虑", "别打了", "别再打", "不同意", "no", "no thanks", "not interested", "stop calling")
)

func mustMatcher(words ...string) matcher {
	var m matcher
	for _, w := range words {
		if k, ok := newKeyword(w); ok {
			m.words = append(m.words, k)
		}
	}
	return m
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
