package voicefox

import "waihu"

type route struct {
	method, path string
	handle       handler
	open         bool // asks for no token: an unguessable, expiring key in the address says what is asked for
}

// routes is every route of the package. The first four are the vendor's, the others ours in the same shapes.
func (s *server) routes() []route {
	const (
		task      = "/openapi/tasks/{taskID}"
		assistant = "/openapi/assistants/{id}"
	)
	return []route{
		{"GET", task, s.taskDetail, false},
		{"GET", "/openapi/calllog", s.callLog, false},
		{"GET", "/openapi/calltrace/{sessionId}", s.callTrace, false},
		{"GET", assistant, s.assistantDetail, false},
		// Tasks.
		{"GET", "/openapi/tasks", s.taskList, false},
		{"POST", "/openapi/tasks", s.taskCreate, false},
		{"POST", task + "/numbers", s.numberImport, false},
		{"POST", task + "/start", s.taskStart, false},
		{"POST", task + "/stop", s.taskStop, false},
		{"POST", task + "/resume", s.taskResume, false},
		{"DELETE", task, s.taskDelete, false},
		// Assistants.
		{"GET", "/openapi/assistants", s.assistantList, false},
		{"POST", "/openapi/assistants", s.assistantCreate, false},
		{"PUT", assistant, s.assistantUpdate, false},
		{"GET", assistant + "/versions", s.assistantVersions, false},
		// What tasks and assistants name.
		{"GET", "/openapi/numbers", s.callerList, false},
		{"GET", "/openapi/speakers", s.resourceList(waihu.Speaker), false},
		{"POST", "/openapi/speakers", s.resourceCreate(waihu.Speaker), false},
		{"DELETE", "/openapi/speakers/{id}", s.resourceDelete(waihu.Speaker), false},
		{"GET", "/openapi/listeners", s.resourceList(waihu.Listener), false},
		{"POST", "/openapi/listeners", s.resourceCreate(waihu.Listener), false},
		{"DELETE", "/openapi/listeners/{id}", s.resourceDelete(waihu.Listener), false},
		{"GET", "/openapi/knowledge", s.resourceList(waihu.Knowledge), false},
		{"POST", "/openapi/knowledge", s.resourceCreate(waihu.Knowledge), false},
		{"DELETE", "/openapi/knowledge/{id}", s.resourceDelete(waihu.Knowledge), false},
		// Webhooks.
		{"GET", "/openapi/webhooks", s.webhookList, false},
		{"POST", "/openapi/webhooks", s.webhookCreate, false},
		{"DELETE", "/openapi/webhooks/{id}", s.webhookDelete, false},
		// The addresses of recordings.
		{"GET", "/openapi/records/{key}", s.record, true},
	}
}
