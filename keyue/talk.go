package keyue

import "net/http"

// noDialogue answers the dialogue routes as long as there is no conversation to be had over HTTP.
func (c *request) noDialogue() (any, error) {
	return nil, &refusal{http.StatusServiceUnavailable, noDialogue, "对话引擎暂不可用：本系统尚未提供文本对话接口"}
}
