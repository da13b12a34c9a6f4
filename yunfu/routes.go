package yunfu

import (
	"net/http"
	"slices"
	"strings"
)

type route struct {
	methods []string
	path    string
	handle  handler
}

// routes is every route of the package that asks for a token. The vendor documents some writes as GET on its older
// paths and as PUT on the newer ones; start, stop and copy take whatever a client was written for.
func (s *server) routes() []route {
	const (
		task2 = "/agent-api/new/user/{user_id}"
		task1 = "/agent-api/user/{user_id}"
	)
	get, post, put, del := []string{"GET"}, []string{"POST"}, []string{"PUT"}, []string{"DELETE"}
	any := []string{"GET", "PUT", "POST"}
	return []route{
		// Tasks of both 2.0 generations.
		{get, task2 + "/task/create", s.taskInit},
		{post, task2 + "/task", s.taskCreate},
		{get, task2 + "/task", s.taskList},
		{get, task2 + "/subset_task", s.taskListSubs},
		{get, task2 + "/task/{task_id}/edit", s.taskEdit},
		{put, task2 + "/task/{task_id}", s.taskUpdate},
		{del, task2 + "/task/{task_id}", s.taskDelete},
		{any, task2 + "/task_start/{task_id}", s.taskStart},
		{any, task2 + "/task_stop/{task_id}", s.taskStop},
		{any, task2 + "/copy/task/{task_id}", s.taskCopy},
		// The same over the legacy paths.
		{get, task1 + "/task/create", s.taskInitLegacy},
		{post, task1 + "/task", s.taskCreateLegacy},
		{get, task1 + "/task", s.taskListLegacy},
		{get, task1 + "/all_task", s.taskListSubsLegacy},
		{get, task1 + "/subset_task", s.taskListSubsLegacy},
		{get, task1 + "/task/{task_id}/edit", s.taskEdit},
		{put, task1 + "/task/{task_id}", s.taskUpdateLegacy},
		{del, task1 + "/task/{task_id}", s.taskDelete},
		{any, task1 + "/task_start/{task_id}", s.taskStart},
		{any, task1 + "/task_stop/{task_id}", s.taskStop},
		// Shared by all generations.
		{get, task1 + "/task/{task_id}/stat", s.taskStat},
		{post, task1 + "/task/{task_id}/number", s.numberAdd},
		{post, task1 + "/task/{task_id}/async_number", s.numberAddAsync},
		{get, task1 + "/identification/{unique_id}", s.identification},
		{get, "/agent-api/callback_blacklist", s.blackouts},
		{put, "/agent-api/callback_blacklist/{id}/release", s.blackoutRelease},
		{get, task1 + "/task/{task_id}/number", s.numberList},
		{get, task1 + "/task/{task_id}/number/detail/{phone}", s.numberDetail},
		{del, task1 + "/task/{task_id}/number-batch-delete", s.numberDelete},
		{put, task1 + "/task/{task_id}/number-batch-reset", s.numberReset},
		{get, task1 + "/task/{task_id}/record", s.callList},
		{get, task1 + "/task/{task_id}/detail/{record_id}", s.callDetail},
		{get, task1 + "/task/{task_id}/record/{record_id}/download-full-voice", s.recording},
		{get, task1 + "/task/{task_id}/batch_record/download-full-voice", s.recordings},
		{get, task1 + "/task/{task_id}/record/{record_id}/llm_intention_tag", s.callReview},
		// The customer pool. Copying customers into a task is a GET in the documents.
		{get, task1 + "/customer/create", s.customerCreate},
		{post, task1 + "/async_customer", s.customerAddAsync},
		{get, task1 + "/get_customer", s.customerList},
		{get, task1 + "/type/{type}/get_customer", s.customerListType},
		{any, task1 + "/customer_to_task/{task_id}", s.customerToTask},
		{del, task1 + "/del_customer", s.customerDelete},
		// Resources of the account.
		{get, task1 + "/dial-time-group", s.hoursList},
		{post, task1 + "/dial-time-group", s.hoursSave},
		{put, task1 + "/dial-time-group/{group_id}", s.hoursUpdate},
		{get, "/agent-api/group/{user_id}", s.groupList},
		{get, "/agent-api/agent_group/tenant/{tenant_id}", s.groupListNode},
		{get, "/agent-api/new_line_list", s.lineList},
		{post, task2 + "/line/{line_id}", s.lineAllocate},
		{del, task2 + "/line/{id}", s.lineRelease},
		{put, task2 + "/line_bind_group", s.lineBind},
		// Accounts. Registering and signing in are documented without the prefix.
		{get, "/users", s.userList},
		{get, "/agent-api/users", s.userList},
		{post, "/users", s.userCreate},
		{post, "/agent-api/users", s.userCreate},
		{post, "/user/{user_id}/authorize", s.authorize},
		{post, "/agent-api/user/{user_id}/authorize", s.authorize},
		{get, "/agent-api/token", s.tokenInfo},
		{get, task1 + "/message", s.accountInfo},
		{put, task1 + "/recharge", s.recharge},
		{put, task1 + "/zero_balance", s.zeroBalance},
		{get, task1 + "/bill_recharge_record", s.billList},
		{get, task1 + "/call_line_fee", s.lineFee},
		{get, "/agent-api/vos_bill/{user_id}", s.vosBills},
		{get, "/agent-api/vos/{user_id}/get_customer_fee", s.vosFee},
		{get, "/agent-api/vos/{user_id}/get_call_record", s.vosCalls},
		{get, task1 + "/subset_users", s.subList},
		{post, task1 + "/subset_users", s.subCreate},
		{get, task1 + "/subset_users/{sub_user_id}/edit", s.subEdit},
		{put, task1 + "/subset_users/{sub_user_id}", s.subUpdate},
		{del, task1 + "/subset_users/{sub_user_id}", s.subDelete},
	}
}

// openRoutes ask for no token: an unguessable, expiring key in the address says what is asked for.
func (s *server) openRoutes() []route {
	return []route{
		{[]string{"GET"}, "/agent-api/download-voice", s.voice},
		{[]string{"GET"}, "/agent-api/download-number", s.downloadNumbers},
	}
}

// nothing answers what no route takes: a wrong method on a known path is said to be one.
func (s *server) nothing(w http.ResponseWriter, r *http.Request) {
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
		s.fail(w, r, refused(http.StatusMethodNotAllowed, "请求方式不正确,应为 "+strings.Join(allow, "、")))
		return
	}
	s.fail(w, r, refused(http.StatusNotFound, "接口不存在"))
}
