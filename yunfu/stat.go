package yunfu

import (
	"waihu"
	"waihu/store"
)

type statData struct {
	AnswerRate struct {
		Answered    int     `json:"answered"`
		NoAnswer    int     `json:"noAnswer"`
		ConnectRate float64 `json:"callCompletetRate"` // spelled so on the wire
		Progress    int     `json:"taskProgress"`
	} `json:"answer_rate"`
	Intention []statIntention `json:"intention"`
	Status    []statStatus    `json:"number_status"`
	Rounds    map[string]int  `json:"rounds"`
}

type statIntention struct {
	Level   int     `json:"intention_results"`
	Name    string  `json:"name"`
	Total   int     `json:"total"`
	Percent float64 `json:"percent"`
}

type statStatus struct {
	Status int    `json:"status"`
	Text   string `json:"status_str"`
	Count  int    `json:"count"`
}

// taskStat answers from gauges; with date, from the per-minute statistics of that time. The progress is always
// the whole task's.
func (s *server) taskStat(c *request) (*answer, error) {
	from, to := c.form.get("date").between(c.loc)
	if err := c.form.err(); err != nil {
		return nil, err
	}
	whole, err := s.Store.Counts(c.ctx, c.acts.ID, c.taskID())
	if err != nil {
		return nil, c.noTask(err)
	}
	counts := whole
	if !from.IsZero() {
		if counts, err = s.Store.CountsBetween(c.ctx, c.acts.ID, c.taskID(), from, to); err != nil {
			return nil, c.noTask(err)
		}
	}
	d := statOf(&counts)
	d.AnswerRate.Progress = progress(&whole)
	return &answer{message: "获取外呼任务数据统计成功", data: d}, nil
}

func statOf(counts *store.Counts) (d statData) {
	var byCode [len(statusNames)]int
	for disposition, n := range counts.Status {
		byCode[statusOf(disposition)] += n
	}
	for code, name := range statusNames {
		d.Status = append(d.Status, statStatus{code, name, byCode[code]})
	}
	rate := &d.AnswerRate
	rate.Answered = byCode[1]
	for code := 2; code < len(byCode); code++ {
		rate.NoAnswer += byCode[code]
	}
	rate.ConnectRate = percent(rate.Answered, rate.Answered+rate.NoAnswer)
	levels, graded := [len(intentionNames)]int{}, 0
	for grade, n := range counts.Intention {
		if level := levelOf(grade); level > 0 {
			levels[level] += n
			graded += n
		}
	}
	for level := 1; level < len(levels); level++ {
		if level <= 5 || levels[level] > 0 { // the page has five; F is shown only where it is used
			d.Intention = append(d.Intention, statIntention{level, intentionNames[level], levels[level], percent(levels[level], graded)})
		}
	}
	d.Rounds = map[string]int{"1": 0, "2~5": 0, "6~10": 0, "11~20": 0, ">20": 0}
	for k, n := range counts.Rounds {
		d.Rounds[k] += n
	}
	return d
}

// percent is unrounded, as the vendor's are.
func percent(part, whole int) float64 {
	if whole == 0 {
		return 0
	}
	return float64(part) / float64(whole) * 100
}

// progress is how many of the numbers are finished, in whole percent; 100 only when all are.
func progress(c *store.Counts) int {
	done, all := c.State[waihu.NumberDone], 0
	for _, n := range c.State[:waihu.NumberRemoved] {
		all += n
	}
	if all == 0 {
		return 0
	}
	return int(int64(done) * 100 / int64(all))
}
