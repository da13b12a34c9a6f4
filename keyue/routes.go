package keyue

import (
	"net/http"
	"slices"
	"strings"
	"sync"
)

// route is one path of the door. What its caller must prove is named on its line: keyed asks for the three headers of
// the agent API, talk for the token of a dialogue.
type route struct {
	methods []string
	path    string
	handle  http.Handler
}

// prefixes are the beginnings of paths below which all is the door's. Below /api/v1/ the native API lives: there only
// the paths of routes are.
var prefixes = []string{"/open/v1/", "/core/v5/", "/online/core/v5/", "/api/v2/", "/api/v3/", "/api/v4/"}

var paths = sync.OnceValue(func() map[string]bool {
	s, set := &server{}, map[string]bool{}
	for _, r := range append(s.routes(), s.aiobRoutes()...) {
		set[r.path] = true
	}
	return set
})

var (
	get  = []string{"GET"}
	post = []string{"POST"}
	both = []string{"GET", "POST"}
)

// routes is every route of the agent API; those of the AIOB family are in aiobRoutes.
func (s *server) routes() []route {
	return []route{
		// Agents.
		{get, "/open/v1/api/v3/agents", s.keyed((*request).agentList)},
		{both, "/open/v1/api/v3/agents/detail", s.keyed((*request).agentDetail)},
		{post, "/open/v1/api/v3/agents/create", s.keyed((*request).agentCreate)},
		{post, "/open/v1/api/v3/agents/update", s.keyed((*request).agentUpdate)},
		{post, "/open/v1/api/v3/agents/delete", s.keyed((*request).agentDelete)},
		{post, "/open/v1/api/v3/agents/offline", s.keyed((*request).agentOffline)},
		{post, "/open/v1/api/v3/agent/agents/offline", s.keyed((*request).agentOffline)}, // so in the page's sample
		// Asynchronous tasks.
		{post, "/open/v1/api/v2/task/create/agent_copy", s.keyed((*request).copyCreate)},
		{post, "/open/v1/api/v2/task/create/agent_publish", s.keyed((*request).publishCreate)},
		{post, "/open/v1/api/v2/task/create/llm_document_import", s.upload((*request).documentCreate)},
		{get, "/open/v1/api/v2/task/openList", s.keyed((*request).openList)},
		{both, "/open/v1/api/v2/llm/document/download", s.keyed((*request).documentDownload)},
		{get, "/open/v1/api/v2/task/file", s.safe(s.file)}, // on the link alone
		// The dialogue comes with the conversation: until then it says that there is none.
		{post, "/core/v5/stream/query", s.talk((*request).noDialogue)},
		{post, "/core/v5/block/query", s.talk((*request).noDialogue)},
		{post, "/core/v5/end", s.talk((*request).noDialogue)},
		{post, "/online/core/v5/stream/query", s.talk((*request).noDialogue)},
		{post, "/online/core/v5/block/query", s.talk((*request).noDialogue)},
		{post, "/online/core/v5/end", s.talk((*request).noDialogue)},
	}
}

// nothing answers what no route takes, in the envelope of the family: a wrong method on a known path is said to be one.
func (s *server) nothing(w http.ResponseWriter, r *http.Request) {
	fail, wrongMethod, unknown := s.fail, paramFormat, notExist
	if strings.HasPrefix(r.URL.Path, "/api/") {
		fail, wrongMethod, unknown = s.aiobFail, http.StatusMethodNotAllowed, http.StatusNotFound
	}
	var allow []string
	for _, m := range []string{"GET", "POST", "PUT", "DELETE"} {
		other := r.Clone(r.Context())
		other.Method = m
		if _, pattern := s.mux.Handler(other); pattern != "/" && pattern != "" {
			allow = append(allow, m)
		}
	}
	if len(allow) > 0 && !slices.Contains(allow, r.Method) {
		w.Header().Set("Allow", strings.Join(allow, ", "))
		fail(w, r, &refusal{http.StatusMethodNotAllowed, wrongMethod, "请求方式不正确,应为 " + strings.Join(allow, "、")})
		return
	}
	fail(w, r, &refusal{http.StatusNotFound, unknown, "接口不存在"})
}
