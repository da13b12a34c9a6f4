package api

import (
	"fmt"
	"strings"
	"testing"
)

func TestSuppressions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ok("POST", "/api/v1/suppressions", `{"phones":["13800000002","+86 138 0000 0001","13800000002"]}`, nil)
	w.ok("POST", "/api/v1/suppressions", `{"phones":["13800000003","13800000002"],"reason":"asked by mail"}`, nil)
	var page suppressionPage
	w.ok("GET", "/api/v1/suppressions?limit=2", "", &page)
	if len(page.Suppressions) != 2 || !page.More {
		t.Fatalf("%+v", page)
	}
	w.ok("GET", "/api/v1/suppressions?after="+strings.Replace(string(page.Suppressions[1].Phone), "+", "%2B", 1), "", &page)
	if len(page.Suppressions) != 1 || page.More || page.Suppressions[0].Reason != "asked by mail" {
		t.Errorf("%+v", page)
	}
	w.ok("GET", "/api/v1/suppressions?account=sub", "", &page)
	if len(page.Suppressions) != 0 {
		t.Errorf("another account's: %+v", page)
	}
	for _, bad := range []struct{ path, body, field string }{
		{"", `{"phones":[]}`, "phones"},
		{"", `{"phones":["13800000009","abc"]}`, "phones[1]"},
		{"", `{"phones":["13800000009"],"reason":"` + strings.Repeat("x", maxReason+1) + `"}`, "reason"},
		{"", `{"phones":["1380000000` + strings.Repeat(`9","1380000000`, maxSuppressed) + `9"]}`, "phones"},
		{"/remove", `{}`, "phone"},
		{"/remove", `{"phone":"x"}`, "phone"},
	} {
		if status, raw := w.do("main", "POST", "/api/v1/suppressions"+bad.path, bad.body); status != 422 || !strings.Contains(raw, fmt.Sprintf(`"field":%q`, bad.field)) {
			t.Errorf("%s: %d %s", bad.path, status, raw)
		}
	}
	w.ok("POST", "/api/v1/suppressions/remove", `{"phone":"+8613800000002"}`, nil)
	if status, raw := w.do("main", "POST", "/api/v1/suppressions/remove", `{"phone":"13800000002"}`); status != 404 {
		t.Errorf("a number that is not suppressed: %d %s", status, raw)
	}
	w.ok("GET", "/api/v1/suppressions", "", &page)
	if len(page.Suppressions) != 2 {
		t.Errorf("left: %+v", page)
	}
}
