package keyue

// aiobRoutes is every route of the AIOB outbound family. Routes with aiob ask for an access token, those with aiobOpen are
// asked without one: for a token, and for a recording by its link.
func (s *server) aiobRoutes() []route {
	const v3 = "/api/v3/console/apitask"
	const v4 = "/api/v4/console/apitask"
	getOrPost, any := []string{"GET", "POST"}, []string{"GET", "POST", "PUT"}
	return []route{
		{post, "/api/v2/getToken", s.aiobOpen(s.aiobToken)},

		{post, "/api/v3/console/realtime/status/create", s.aiob(s.aiobRealtime)},
		{post, "/api/v3/console/realtime/mobile/del", s.aiob(s.aiobRealtimeDelete)},

		{post, v3 + "/create", s.aiob(s.aiobCreate3)},
		{post, v4 + "/create", s.aiob(s.aiobCreate4)},
		{post, v3 + "/update", s.aiob(s.aiobUpdate3)},
		{post, v4 + "/update", s.aiob(s.aiobUpdate4)},
		{post, v3 + "/delete", s.aiob(s.aiobDelete)},
		{post, v3 + "/task/status/update", s.aiob(s.aiobStatus)},
		{post, v3 + "/gettask", s.aiob(s.aiobGet)},
		{post, v3 + "/task/list", s.aiob(s.aiobTasks)},
		{post, v3 + "/available/capacity", s.aiob(s.aiobCapacity)},

		{post, v3 + "/import", s.aiob(s.aiobImport)},
		{post, v3 + "/mobile/delete", s.aiob(s.aiobRemove)},
		{post, v3 + "/mobile/deleteWithoutCheck", s.aiob(s.aiobRemove)},
		{post, v3 + "/task/detail", s.aiob(s.aiobGroups3)},
		{post, v4 + "/task/detail", s.aiob(s.aiobGroups4)},
		{getOrPost, v3 + "/member/detail", s.aiob(s.aiobCalls1)},
		{getOrPost, v3 + "/member/detail2", s.aiob(s.aiobCalls3)}, // the copies disagree about the method
		{getOrPost, v4 + "/member/detail", s.aiob(s.aiobCalls4)},
		{getOrPost, v4 + "/member/detail2", s.aiob(s.aiobCalls4)},
		{post, v3 + "/member/list", s.aiob(s.aiobCallLog)},

		{any, "/api/v1/record", s.aiob(s.aiobRecord)},
		{get, "/api/v1/record/file", s.aiobOpen(s.aiobRecordFile)},
		{get, "/api/v1/robot/list", s.aiob(s.aiobRobots)},
		{get, "/api/v1/did/list", s.aiob(s.aiobCallers)},
		{post, "/api/v1/blacklist/create", s.aiob(s.aiobBlock)},
		{post, "/api/v1/blacklist/delete", s.aiob(s.aiobUnblock)},
	}
}
