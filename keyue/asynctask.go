package keyue

import (
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"waihu"
	"waihu/store"
)

// What is said of asynchronous tasks, each in one table. Of the vendor's own values only one taskUrl is known.
var (
	// taskURLs is the taskUrl of each kind, unless Options.PrintedTaskURL.
	taskURLs = map[store.AgentJobKind]string{
		store.AgentCopy:    "/api/v2/agent/copy",
		store.AgentPublish: "/api/v2/agent/publish",
		store.AgentImport:  printedTaskURL,
	}
	taskTypes = map[store.AgentJobKind]string{store.AgentCopy: "agent_copy", store.AgentPublish: "agent_publish", store.AgentImport: "llm_document_import"}
	modules   = map[store.AgentJobKind]string{store.AgentCopy: "agent", store.AgentPublish: "agent", store.AgentImport: "document"}
)

const printedTaskURL = "/api/v2/llm/document/import"

// DefaultTaskStatus is the taskStatus of a task that waits, is being worked, is done, has failed. The scale is ours.
var DefaultTaskStatus = [4]int{0, 1, 2, 3}

// jobBody is what the door keeps with an asynchronous task.
type jobBody struct {
	AgentID  string `json:"agent_id"` // as its client knows it
	Type     int    `json:"type"`
	UID      string `json:"uid"`
	Username string `json:"username"`
	TenantID string `json:"tenant_id"`
	Extend   string `json:"extend"`         // the caller's taskExtend
	File     string `json:"file,omitempty"` // name of the file that was sent
	Dir      string `json:"dir,omitempty"`
}

// taskObject has the 25 keys of the page, in its order. What the page types as null is null while the task runs.
type taskObject struct {
	ID             string `json:"id"`
	AgentID        string `json:"agentId"` // of a copy the source
	AgentName      string `json:"agentName"`
	AgentType      int    `json:"agentType"`
	UserID         string `json:"userId"`
	UserName       string `json:"userName"`
	Created        string `json:"created"`
	Updated        string `json:"updated"`
	Module         string `json:"module"`
	TaskType       string `json:"taskType"`
	TaskStatus     int    `json:"taskStatus"`
	TaskResult     any    `json:"taskResult"`
	ErrorMsg       any    `json:"errorMsg"`
	FilePath       string `json:"filePath"`
	FileURL        any    `json:"fileUrl"`
	TaskURL        string `json:"taskUrl"`
	Deleted        int    `json:"deleted"`
	ReportFilePath any    `json:"reportFilePath"`
	ReportFileURL  any    `json:"reportFileUrl"`
	TaskExtend     string `json:"taskExtend"`
	CommonExtend   any    `json:"commonExtend"`
	TenantID       string `json:"tenantId"`
	AppName        any    `json:"appName"`
	Platform       string `json:"platform"`
	RequestSource  string `json:"requestSource"`
}

// listedTask is a task in openList: there the creation is createTime and the module, on the page, moudel.
type listedTask struct {
	taskObject
	CreateTime string `json:"createTime"`
	Moudel     string `json:"moudel"`
}

func (c *request) taskObject(j store.AgentJob) (taskObject, error) {
	var body jobBody
	if err := json.Unmarshal(j.Body, &body); err != nil {
		body = jobBody{AgentID: string(j.Agent), TenantID: c.who.TenantID} // another door's
	}
	o := taskObject{ID: strconv.FormatInt(j.ID, 10), AgentID: body.AgentID, AgentName: j.AgentName, AgentType: body.Type, UserID: body.UID, UserName: body.Username,
		Created: stamp(j.CreatedAt, c.loc), Updated: stamp(j.UpdatedAt, c.loc), Module: modules[j.Kind], TaskType: taskTypes[j.Kind],
		TaskStatus: c.s.TaskStatus[j.State], TaskURL: c.s.taskURL(j.Kind), TaskExtend: body.Extend, TenantID: body.TenantID, Platform: "NGD", RequestSource: "UNIT"}
	switch {
	case j.Result == "":
	case j.Kind == store.AgentPublish: // the agent, under the id that its client knows
		o.TaskResult = body.AgentID
	default:
		o.TaskResult = j.Result
	}
	if j.Error != "" {
		o.ErrorMsg = j.Error
	}
	if j.Kind != store.AgentImport {
		return o, nil
	}
	o.FilePath = fileKey(j.ID, "file", body.File)
	if !j.State.Over() {
		return o, nil
	}
	report := fileKey(j.ID, "report", "report.csv")
	o.ReportFilePath = report
	var err error
	if o.FileURL, err = c.fileURL(o.FilePath); err == nil {
		o.ReportFileURL, err = c.fileURL(report)
	}
	return o, err
}

func (s *server) taskURL(kind store.AgentJobKind) string {
	if s.PrintedTaskURL {
		return printedTaskURL
	}
	return taskURLs[kind]
}

var kinds = []store.AgentJobKind{store.AgentCopy, store.AgentPublish, store.AgentImport}

func kindOf(url string) (store.AgentJobKind, bool) {
	i := slices.IndexFunc(kinds, func(k store.AgentJobKind) bool { return taskURLs[k] == url })
	if i < 0 {
		return "", false
	}
	return kinds[i], true
}

// begin writes an asynchronous task and answers with it as it stands at its creation.
func (c *request) begin(a *waihu.AgentSpec, kind store.AgentJobKind, extend string, file []byte, name, dir string) (any, error) {
	body, err := json.Marshal(jobBody{AgentID: wireID(a), Type: typeOf(a), UID: c.who.UID, Username: c.who.Username, TenantID: c.who.TenantID, Extend: extend, File: name, Dir: dir})
	if err != nil {
		return nil, err
	}
	j := store.AgentJob{Account: c.account.ID, Agent: a.ID, Kind: kind, Body: body}
	if err := c.s.Store.AddAgentJob(c.ctx, &j, file); err != nil {
		return nil, err
	}
	c.s.Wake()
	return c.taskObject(j)
}

func (c *request) copyCreate() (any, error) {
	a, err := c.agent("agentId")
	if err != nil {
		return nil, err
	}
	return c.begin(&a, store.AgentCopy, "{}", nil, "", "")
}

// publishCreate takes the agent from the header Agentid. Tenantid must be the caller's own when it is sent: a copy of
// the page does not know these headers.
func (c *request) publishCreate() (any, error) {
	if tenant := c.r.Header.Get("Tenantid"); tenant != "" && tenant != c.who.TenantID {
		return nil, refused(denied, "Tenantid 与账户不符")
	}
	category, err := c.form.text("category")
	if err != nil {
		return nil, err
	}
	if category != "" && category != "all" {
		return nil, wrong(paramCheck, "category", "应为 all")
	}
	a, err := c.needAgent()
	if err != nil {
		return nil, err
	}
	return c.begin(&a, store.AgentPublish, `{"category":"all"}`, nil, "", "")
}

// openList pages through the caller's asynchronous tasks, newest first.
func (c *request) openList() (any, error) {
	pn, ps, err := c.page()
	if err != nil {
		return nil, err
	}
	if _, err := c.form.needed("queryLevel"); err != nil {
		return nil, err
	}
	level, err := c.form.number("queryLevel", 0, 0, 2)
	if err != nil {
		return nil, err
	}
	var agent waihu.AgentID
	var kind store.AgentJobKind
	none := false
	switch level {
	case 0:
		address, err := c.form.needed("taskUrl")
		if err != nil {
			return nil, err
		}
		known := false
		if kind, known = kindOf(address); !known {
			none = true
		}
		if c.s.PrintedTaskURL {
			kind, none = "", address != printedTaskURL // all kinds share it
		}
	case 1:
		a, ok, err := c.theAgent()
		if err != nil {
			return nil, err
		}
		if ok { // else the key means no one agent, and a client that seeks its task by id finds it among all
			agent = a.ID
		}
	}
	var list []store.AgentJob
	total := 0
	if !none {
		if list, total, err = c.s.Store.AgentJobs(c.ctx, c.account.ID, agent, kind, pn, ps); err != nil {
			return nil, err
		}
	}
	out := make([]listedTask, 0, len(list))
	for _, j := range list {
		o, err := c.taskObject(j)
		if err != nil {
			return nil, err
		}
		out = append(out, listedTask{taskObject: o, CreateTime: o.Created, Moudel: o.Module})
	}
	return map[string]any{"total": total, "pn": pn, "ps": ps, "queryLevel": level, "taskList": out}, nil
}

// fileKey names a file of an import: KIND/JOB/NAME.
func fileKey(job int64, kind, name string) string {
	return kind + "/" + strconv.FormatInt(job, 10) + "/" + name
}

// parseFileKey is the opposite of fileKey.
func parseFileKey(key string) (job int64, kind, name string, ok bool) {
	kind, rest, _ := strings.Cut(strings.TrimPrefix(key, "/"), "/")
	id, name, _ := strings.Cut(rest, "/")
	job, err := strconv.ParseInt(id, 10, 64)
	return job, kind, name, err == nil && job > 0 && (kind == "file" || kind == "report") && name != ""
}

// fileLink is the use of links to files, fileLife how long one is good.
const (
	fileLink = "keyue file"
	fileLife = 24 * time.Hour
)

// fileURL is an address that gives the file to whoever has it, for fileLife.
func (c *request) fileURL(key string) (string, error) {
	link, err := c.s.Store.Link(fileLink, string(c.account.ID)+"\n"+key, c.s.Now().Add(fileLife))
	if err != nil {
		return "", err
	}
	scheme := "http"
	if c.r.TLS != nil || strings.EqualFold(c.r.Header.Get("X-Forwarded-Proto"), "https") {
		scheme = "https"
	}
	address := "/open/v1/api/v2/task/file?key=" + link
	if c.r.Host != "" {
		address = (&url.URL{Scheme: scheme, Host: c.r.Host}).String() + address
	}
	return address, nil
}
