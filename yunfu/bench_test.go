package yunfu

import (
	"fmt"
	"net/http/httptest"
	"os"
	"strconv"
	"testing"

	"waihu"
	"waihu/store"
)

// BenchmarkLongTask answers what clients poll of a task with many numbers: 100,000, or as many as WAIHU_TEST_NUMBERS says.
//
//	WAIHU_TEST_NUMBERS=1000000 go test -run '^$' -bench LongTask ./yunfu
func BenchmarkLongTask(b *testing.B) {
	n := 100_000
	if text := os.Getenv("WAIHU_TEST_NUMBERS"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil || n < 1000 {
			b.Fatalf("WAIHU_TEST_NUMBERS=%q: a number above 1000 was expected", text)
		}
	}
	w := newWorld(b)
	list := make([]store.NewNumber, n)
	for i := range list {
		list[i].Phone = waihu.PhoneNumber(strconv.Itoa(13000000000 + i))
	}
	_, err := w.AddNumbers(b.Context(), mainUser, taskID, list)
	w.must(err)
	w.dial(taskID, answered("A"), ended(waihu.Busy), ended(waihu.NoAnswer))
	last := n / 100
	for name, path := range map[string]string{
		"stat":   old1 + "/task/" + taskID + "/stat",
		"tasks":  new2 + "/task?page=1&per_page=15",
		"first":  numberPath + "?page=1&per_page=100",
		"middle": numberPath + fmt.Sprintf("?page=%d&per_page=100", last/2),
		"last":   numberPath + fmt.Sprintf("?page=%d&per_page=100", last),
		"status": numberPath + fmt.Sprintf("?page=%d&per_page=100&status[]=0", last/2),
		"phone":  numberPath + "?page=1&phone=" + strconv.Itoa(13000000000+n/2),
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				r := httptest.NewRequest("GET", path, nil)
				r.Header.Set("Authorization", "Bearer "+token)
				rec := httptest.NewRecorder()
				if w.door.ServeHTTP(rec, r); rec.Code != 200 {
					b.Fatal(rec.Body)
				}
			}
		})
	}
}
