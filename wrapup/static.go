package wrapup

import (
	"fmt"
	"strings"

	"waihu"
)

// Check is what is wrong with an agent's quality items and questions; fields are paths inside the agent.
func Check(spec *waihu.AgentSpec) (list []waihu.Problem) {
	list = checkItems(list, "qa", spec.QA)
	if spec.LLM == nil {
		return list
	}
	seen := map[string]bool{}
	for i, q := range spec.LLM.Collect {
		at := fmt.Sprintf("llm.collect[%d]", i)
		switch {
		case q.Key == "":
			list = append(list, waihu.Problem{Field: at + ".key", Message: "a key was expected: answers are kept under it"})
		case seen[q.Key]:
			list = append(list, waihu.Problem{Field: at + ".key", Message: fmt.Sprintf("the key %s is given twice", q.Key)})
		}
		seen[q.Key] = true
		if strings.TrimSpace(q.Question) == "" {
			list = append(list, waihu.Problem{Field: at + ".question", Message: "a question was expected"})
		}
	}
	return list
}

// CheckChecks is what is wrong with a quality check or score scheme; fields are paths inside it.
func CheckChecks(c *waihu.Checks) (list []waihu.Problem) {
	list = checkItems(list, "items", c.Items)
	for level := range c.Levels {
		if strings.TrimSpace(level) == "" || len(level) > 20 {
			list = append(list, waihu.Problem{Field: "levels", Message: "a level is a short word such as A"})
		}
	}
	for i, r := range c.Grade {
		at := fmt.Sprintf("grade[%d]", i)
		if strings.TrimSpace(r.Level) == "" {
			list = append(list, waihu.Problem{Field: at + ".level", Message: "a level was expected"})
		}
		if _, err := compile(r.When); err != nil {
			list = append(list, waihu.Problem{Field: at + ".when", Message: err.Error()})
		}
	}
	return list
}

func checkItems(list []waihu.Problem, under string, items []waihu.QualityItem) []waihu.Problem {
	seen := map[string]bool{}
	for i, q := range items {
		at := fmt.Sprintf("%s[%d]", under, i)
		bad := func(field, format string, args ...any) {
			list = append(list, waihu.Problem{Field: at + "." + field, Message: fmt.Sprintf(format, args...)})
		}
		switch {
		case strings.TrimSpace(q.ID) == "" || len(q.ID) > 60:
			bad("id", "an id of up to 60 bytes was expected")
		case seen[q.ID]:
			bad("id", "the id %s is given twice", q.ID)
		}
		seen[q.ID] = true
		switch q.Kind {
		case kindRule:
			if _, err := compile(q.Check); err != nil {
				bad("check", "%v", err)
			}
			if q.Answer != "" && q.Answer != "bool" {
				bad("answer", "a rule gives true or false")
			}
		case kindLLM:
			if strings.TrimSpace(q.Ask) == "" {
				bad("ask", "a question was expected")
			}
			switch kind, options := answerKind(q.Answer); {
			case kind == "choice" && (len(options) < 2 || contains(options, "")):
				bad("answer", "choices are separated by |, none of them empty")
			case kind != "bool" && kind != "score" && kind != "text" && kind != "choice":
				bad("answer", "%q is no kind of answer: bool, score, text or choices such as 是|否 were expected", q.Answer)
			}
		default:
			bad("kind", "%q is no kind of item: rule or llm was expected", q.Kind)
		}
		if q.Weight < 0 {
			bad("weight", "below 0: the score says whether an item gives or takes")
		}
	}
	return list
}
