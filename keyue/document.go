package keyue

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"

	"waihu"
	"waihu/store"
)

// maxUpload bounds a request that carries a document, maxFileName what is kept of its name, in letters.
const (
	maxUpload   = 10 << 20
	maxFileName = 120
)

// documentCreate takes a document into an agent's knowledge, as an asynchronous task with a report. What cannot be read
// at all is refused at once; what is wrong with single rows stands in the report.
func (c *request) documentCreate() (any, error) {
	up, err := readUpload(c.r)
	if err != nil {
		return nil, err
	}
	for name, text := range up.fields {
		c.form.values[name] = text
	}
	a, err := c.needAgent()
	if err != nil {
		return nil, err
	}
	extend, err := c.form.text("taskExtend")
	if err != nil {
		return nil, err
	}
	if extend == "" {
		extend = "{}"
	}
	if _, err := parseExtend(extend); err != nil {
		return nil, err
	}
	dir, err := c.form.text("dirId")
	if err != nil {
		return nil, err
	}
	if _, err := formatOf(up.name, up.file); err != nil {
		return nil, err
	}
	return c.begin(&a, store.AgentImport, extend, up.file, up.name, dir)
}

// uploaded is a request of several parts: one file and texts.
type uploaded struct {
	fields map[string]string
	name   string
	file   []byte
}

// readUpload reads a body of several parts. The vendor's page says application/json although a file is sent; then the
// boundary stands behind that, or in the body's first line.
func readUpload(r *http.Request) (up uploaded, err error) {
	raw, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxUpload))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return up, refused(importError, "文件过大,最多 %d MB", maxUpload>>20)
	case err != nil:
		return up, refused(paramFormat, "请求体未能完整读取")
	}
	return splitParts(r.Header.Get("Content-Type"), raw)
}

func splitParts(contentType string, raw []byte) (up uploaded, err error) {
	_, params, _ := mime.ParseMediaType(contentType)
	boundary := params["boundary"]
	if first, _, ok := bytes.Cut(raw, []byte("\n")); boundary == "" && ok {
		text, dashed := strings.CutPrefix(strings.TrimRight(string(first), "\r"), "--")
		if dashed {
			boundary = text
		}
	}
	if boundary == "" {
		return up, refused(paramFormat, "请以 multipart/form-data 上传,文件的字段名为 file")
	}
	up.fields = map[string]string{}
	m := multipart.NewReader(bytes.NewReader(raw), boundary)
	for parts := 0; ; parts++ {
		p, err := m.NextPart()
		if err == io.EOF {
			break
		}
		if err != nil || parts > 100 {
			return up, refused(paramFormat, "multipart 请求体无法解析")
		}
		value, err := io.ReadAll(p)
		if err != nil {
			return up, refused(paramFormat, "multipart 请求体无法解析")
		}
		switch {
		case p.FileName() == "":
			up.fields[p.FormName()] = string(value)
		case up.name != "":
			return up, refused(importError, "一次只能上传一个文件")
		default:
			up.name, up.file = cleanFileName(p.FileName()), value
		}
	}
	if up.name == "" {
		return up, wrong(paramCheck, "file", "缺少文件")
	}
	if len(up.file) == 0 {
		return up, refused(importError, "文件 %s 是空的", up.name)
	}
	return up, nil
}

// cleanFileName keeps the end of a name, with its extension, and nothing that is no text.
func cleanFileName(name string) string {
	name = strings.ToValidUTF8(path.Base(strings.ReplaceAll(name, `\`, "/")), "")
	name = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, name)
	if letters := []rune(name); len(letters) > maxFileName {
		name = string(letters[len(letters)-maxFileName:])
	}
	if name == "" || name == "." || name == "/" {
		name = "file"
	}
	return name
}

// documentDownload gives back a document that was imported, or the report on it, by its filePath.
func (c *request) documentDownload() (any, error) {
	key, err := c.form.needed("fileKey")
	if err != nil {
		return nil, err
	}
	return streamed{}, c.s.sendFile(c.ctx, c.w, c.account.ID, key)
}

// file gives the file that a link stands for; nobody asks for headers.
func (s *server) file(w http.ResponseWriter, r *http.Request) error {
	target, err := s.Store.OpenLink(fileLink, r.URL.Query().Get("key"))
	if err != nil {
		return &refusal{http.StatusNotFound, notExist, "链接无效或已过期"}
	}
	account, key, _ := strings.Cut(target, "\n")
	return s.sendFile(r.Context(), w, waihu.AccountID(account), key)
}

func (s *server) sendFile(ctx context.Context, w http.ResponseWriter, account waihu.AccountID, key string) error {
	missing := refused(notExist, "文件不存在")
	id, kind, name, ok := parseFileKey(key)
	if !ok {
		return missing
	}
	file, err := s.Store.AgentJobFile(ctx, account, id, kind)
	if waihu.ErrorCode(err) == waihu.ENotFound {
		return missing
	}
	if err != nil {
		return err
	}
	// Never as something that a browser would run.
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Content-Disposition", "attachment; filename*=UTF-8''"+url.PathEscape(name))
	w.Header().Set("Content-Length", strconv.Itoa(len(file)))
	w.Write(file)
	return nil
}
