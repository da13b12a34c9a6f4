package yunfu

import (
	"regexp"
	"strings"

	"waihu"
)

// What other rooms say about a task or an agent is English; the vendor's users read Chinese. A sentence that is not in
// the table is passed on behind a Chinese one, so that nothing is hidden.
type sentence struct {
	english *regexp.Regexp
	chinese string // $1 and on as in the expression
}

var sentences = func() (list []sentence) {
	for _, s := range [][2]string{
		// agents
		{`agent (\S+) \((.*)\) is offline: publish it before it calls`, `话术 $1($2)未上线,请先发布`},
		{`agent "(.*)" is led by "(.*)", which this version cannot run: only brain: flow can be dialled`, `话术 $1 的类型为 $2,当前版本不支持外呼,应为 flow`},
		{`agent "(.*)" has brain: flow but no flow`, `话术 $1 没有流程(flow)`},
		{`"(.*)" is not a brain: flow, llm or bot was expected`, `“$1”不是有效的话术类型,应为 flow、llm 或 bot`},
		{`brain: flow wants a flow with nodes`, `缺少流程(flow)及其节点(nodes)`},
		{`brain: llm wants llm`, `缺少大模型配置(llm)`},
		{`brain: bot wants the bot's address`, `缺少机器人地址`},
		{`there is no node "(.*)"`, `节点“$1”不存在`},
		{`there is no intent "(.*)", and it is none of speech, silence, dtmf:<keys>`, `意图“$1”不存在,也不是 speech、silence 或 dtmf:按键`},
		{`the action (\S+) cannot be carried out by this version`, `当前版本不支持动作 $1`},
		{`unknown action "(.*)"`, `未知动作“$1”`},
		{`a rule needs a level`, `规则缺少等级`},
		{`"(.*)" is not a name of a variable`, `“$1”不是有效的变量名`},
		{`unknown type "(.*)": (.*) was expected`, `未知类型“$1”,应为 $2`},
		{`(-?\d+) ms is not between (\d+) and (\d+)`, `$1 毫秒超出范围,应为 $2 到 $3`},
		{`(-?[\d.]+) is not between (\S+) and (\S+)`, `$1 超出范围,应为 $2 到 $3`},
		{`"(.*)" is the name of a built-in input`, `“$1”是内置输入的名称`},
		{`nothing can mean this intent: any, regex or dtmf was expected`, `该意图没有匹配条件,应设置 any、regex 或 dtmf`},
		{`"(.*)" has no word in it`, `“$1”中没有文字`},
		{`"(.*)" is no sequence of keys: 1 to 16 of 0-9 \* # A-D were expected`, `“$1”不是有效的按键序列,应为 1 到 16 个 0-9、*、#、A-D`},
		{`a question \(q\) and an answer \(a\) were expected`, `缺少问题(q)和答案(a)`},
		{`say and play exclude each other`, `say 与 play 不能同时设置`},
		{`"(.*)": text or digits was expected`, `“$1”无效,应为 text 或 digits`},
		{`the node has no exit: go, a branch with go, else, or do: \[hangup\] was expected`, `该节点没有出口,应设置 go、带 go 的分支、else 或 do: [hangup]`},
		{`\{\{(.*)\}\} is known only from the callee's own words: a collected variable cannot be spoken in the same call`, `变量 {{$1}} 来自通话中的收集,不能在同一通话中播报`},
		{`\{\{(.*)\}\} is not among vars, nothing sets it, and it has no default`, `变量 {{$1}} 未定义,没有赋值,也没有默认值`},
		{`no path leads to this node`, `没有路径到达该节点`},
		{`from here the flow can turn in a circle without speaking or listening`, `从该节点起流程可能循环而不播报也不收听`},
		{`"(.*)": \}\} without \{\{`, `“$1”中有 }} 而没有 {{`},
		{`"(.*)": \{\{ is not closed`, `“$1”中的 {{ 没有结束`},
		{`"(.*)": "(.*)" is not a name of a variable`, `“$1”中的“$2”不是有效的变量名`},
		// sounds
		{`node (\S+) \((\S+)\): (.*)`, `节点 $1($2)：$3`},
		{`the recording "(.*)" cannot be played: .*`, `录音“$1”无法播放`},
		{`\{\{(.*?)\}\} cannot be spoken: .*`, `变量 {{$1}} 无法播报:没有语音合成,也没有默认值`},
		{`nobody can say "(.*)": (.*)`, `文本“$1”没有可用的语音:$2`},
		{`the voice service "(.*)" is not part of this version`, `当前版本没有语音服务 $1`},
		{`espeak-ng is not installed.*`, `语音合成程序 espeak-ng 未安装`},
		{`no prompt has this text and espeak-ng is not installed: .*`, `没有该文本的录音,且语音合成程序 espeak-ng 未安装`},
		// the ledger
		{`there is no agent (\S+)`, `话术 $1 不存在`},
		{`there is no line (\S+)`, `线路 $1 不存在`},
		{`there is no caller number with the id (\d+)`, `主叫号码 $1 不存在`},
		{`agent (\S+) has no version with the id (\d+)`, `话术 $1 没有版本 $2`},
		{`line (\S+) is named twice`, `线路 $1 重复`},
		{`a task has a name`, `任务名称不能为空`},
		{`a task has an agent`, `话术不能为空`},
		{`(-?\d+): at least 1 was expected`, `$1 无效,至少为 1`},
		{`(-?\d+) is negative(: .*)?`, `$1 无效,不能为负数`},
		{`is negative`, `不能为负数`},
		{`the task stops before it starts`, `任务结束时间早于开始时间`},
		{`ends before it begins`, `结束时间早于开始时间`},
		{`minutes (\d+) to (\d+) are not a part of a day`, `时间段 $1 到 $2 分钟无效`},
		{`"(.*)" is not a time zone.*`, `“$1”不是有效的时区`},
		{`a phone number was expected`, `号码不能为空`},
		{`a task with the id (\S+) or the serial \d+ exists`, `任务 $1 已存在`},
		{`the account owns line (\S+): remove its lines first`, `该账户拥有线路 $1,请先移除线路`},
		{`the balance is too small`, `余额不足`},
		{`an account has an id and a name`, `账户名称不能为空`},
		{`agent (\S+): (.*)`, `话术 $1：$2`},
		{`([a-z_]+(?:[.\[][^ ]+)?): (.+)`, `$1：$2`}, // a field's path
	} {
		list = append(list, sentence{regexp.MustCompile(`^(?s:` + s[0] + `)$`), s[1]})
	}
	return list
}()

// deepest bounds sentences inside sentences.
const deepest = 4

// inChinese is a sentence of another room in Chinese. One that is Chinese already stays.
func inChinese(text string) string { return translate(text, deepest) }

func translate(text string, depth int) string {
	if han.MatchString(text) && !letters.MatchString(text) || depth == 0 {
		return text
	}
	for _, s := range sentences {
		m := s.english.FindStringSubmatchIndex(text)
		if m == nil {
			continue
		}
		out := string(s.english.ExpandString(nil, s.chinese, text, m))
		// What stands behind a colon may be a sentence of its own.
		if head, rest, ok := strings.Cut(out, "："); ok {
			return head + "：" + translate(rest, depth-1)
		}
		if head, rest, ok := strings.Cut(out, "语音:"); ok {
			return head + "语音：" + translate(rest, depth-1)
		}
		return out
	}
	if letters.MatchString(text) {
		return "配置有误(" + text + ")"
	}
	return text
}

var (
	han     = regexp.MustCompile(`\p{Han}`)
	letters = regexp.MustCompile(`[a-z]{3,} [a-z]{2,}`) // English words in a row
)

// problemText is one reason against a start.
func problemText(p waihu.Problem) string {
	text := inChinese(p.Message)
	if p.Field != "" && !strings.Contains(text, p.Field) {
		text = p.Field + "：" + text
	}
	return text
}
