package api

import (
	"encoding/json"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// operation is what a route says of itself. Body and Answer are values of the types that the handler reads and returns:
// the document's schemas are theirs, with the tag doc as description.
type operation struct {
	ID, Tag, Summary string
	Text             string
	Query            []param
	Body             any
	BodyType         string // media type of a body that is no JSON
	Answer           any    // nil: nothing (204), or Media says what
	Status           int    // default 200, or 204 without answer
	Media            string // media type of an answer that is no JSON
}

// param is a parameter of the query.
type param struct{ name, kind, doc string }

func (s *server) documentRoutes() []route {
	return []route{{"GET", Prefix + "openapi.json", s.openapi, true, operation{ID: "openapi", Tag: "about", Summary: "This document", Answer: json.RawMessage{}}}}
}

func (s *server) openapi(c *request) (any, error) {
	c.w.Header().Set("Content-Type", "application/json")
	_, err := c.w.Write(s.doc)
	return written, err
}

type object = map[string]any

// document is the OpenAPI 3.1 document of a table of routes.
func document(routes []route) []byte {
	d := &schemas{all: object{}}
	paths := object{}
	for _, r := range routes {
		at, _ := paths[r.path].(object)
		if at == nil {
			at = object{}
			paths[r.path] = at
		}
		at[strings.ToLower(r.method)] = d.operation(&r)
	}
	raw, err := json.MarshalIndent(object{
		"openapi": "3.1.0",
		"info": object{"title": "waihu", "version": "1", "description": "Outbound calling: the native API. Tokens go into the header Authorization: Bearer TOKEN. " +
			"Every error is {\"error\":{\"code\",\"message\",\"field\",\"id\"}}. Times are RFC 3339 in UTC."},
		"paths": paths,
		"webhooks": object{"event": object{"post": object{"operationId": "event", "summary": "What an endpoint of the native door is sent: one event", "requestBody": object{"required": true,
			"content": object{"application/json": object{"schema": d.of(reflect.TypeFor[message]())}}}, "responses": object{"2XX": object{"description": "taken"}}}}},
		"security": []any{object{"token": []any{}}},
		"components": object{"schemas": d.all, "securitySchemes": object{"token": object{"type": "http", "scheme": "bearer"}},
			"responses": object{"error": object{"description": "refused or failed; nothing was changed", "content": object{"application/json": object{"schema": d.of(reflect.TypeFor[errorBody]())}}}}},
	}, "", " ")
	if err != nil {
		panic("api: the document cannot be encoded: " + err.Error()) // it is made of maps and texts
	}
	return append(raw, '\n')
}

var pathParam = regexp.MustCompile(`\{([a-z_]+)\}`)

func (d *schemas) operation(r *route) object {
	o := &r.says
	var params []any
	for _, m := range pathParam.FindAllStringSubmatch(r.path, -1) {
		params = append(params, object{"name": m[1], "in": "path", "required": true, "schema": object{"type": "string"}})
	}
	if !r.open {
		params = append(params, object{"name": "account", "in": "query", "description": "act for this sub-account", "schema": object{"type": "string"}})
	}
	for _, p := range o.Query {
		params = append(params, object{"name": p.name, "in": "query", "description": p.doc, "schema": object{"type": p.kind}})
	}
	answer := object{"description": o.Summary}
	status := o.Status
	switch {
	case o.Media != "":
		answer["content"] = object{o.Media: object{}}
	case o.Answer != nil:
		answer["content"] = object{"application/json": object{"schema": d.of(reflect.TypeOf(o.Answer))}}
	case status == 0:
		status = 204
	}
	if status == 0 {
		status = 200
	}
	out := object{"operationId": o.ID, "summary": o.Summary, "tags": []any{o.Tag},
		"responses": object{strconv.Itoa(status): answer, "default": object{"$ref": "#/components/responses/error"}}}
	if o.Text != "" {
		out["description"] = o.Text
	}
	if len(params) > 0 {
		out["parameters"] = params
	}
	switch {
	case o.BodyType != "":
		out["requestBody"] = object{"required": true, "content": object{o.BodyType: object{}}}
	case o.Body != nil:
		out["requestBody"] = object{"required": true, "content": object{"application/json": object{"schema": d.of(reflect.TypeOf(o.Body))}}}
	}
	if r.open {
		out["security"] = []any{}
	}
	return out
}

// schemas collects the schemas of Go types under their names.
type schemas struct{ all object }

// of is the schema of a type as encoding/json writes it.
func (d *schemas) of(t reflect.Type) object {
	switch t {
	case reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	case reflect.TypeFor[json.RawMessage]():
		return object{"type": "object"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return d.of(t.Elem())
	case reflect.Slice:
		return object{"type": "array", "items": d.of(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": d.of(t.Elem())}
	case reflect.Interface:
		return object{}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int, reflect.Int32, reflect.Int64, reflect.Uint64:
		return object{"type": "integer"}
	case reflect.Float64:
		return object{"type": "number"}
	case reflect.Struct:
	default:
		panic("api: no schema for " + t.String()) // met by every test of the package
	}
	ref := object{"$ref": "#/components/schemas/" + t.Name()}
	if _, ok := d.all[t.Name()]; ok {
		return ref
	}
	props, required := object{}, []any{}
	schema := object{"type": "object", "additionalProperties": false, "properties": props}
	d.all[t.Name()] = schema
	for _, f := range reflect.VisibleFields(t) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous || !f.IsExported() || name == "" || name == "-" {
			continue
		}
		p := d.of(f.Type)
		if doc := f.Tag.Get("doc"); doc != "" {
			p["description"] = doc
		}
		props[name] = p
		if !strings.Contains(options, "omitempty") && !strings.Contains(options, "omitzero") {
			required = append(required, name)
		}
	}
	if len(required) > 0 {
		schema["required"] = required
	}
	return ref
}
