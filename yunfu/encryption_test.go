package yunfu

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"net/url"
	"strings"
	"testing"

	"waihu/store"
)

// clientSeal encrypts as a client would, with a vector of its own: written beside the code that it checks.
func clientSeal(t testing.TB, key, iv, text string) string {
	t.Helper()
	block, err := aes.NewCipher([]byte(key))
	if err != nil {
		t.Fatal(err)
	}
	pad := 16 - len(text)%16
	plain := []byte(text + strings.Repeat(string(rune(pad)), pad))
	cipher.NewCBCEncrypter(block, []byte(iv)).CryptBlocks(plain, plain)
	return base64.StdEncoding.EncodeToString(append([]byte(iv), plain...))
}

func clientOpen(t testing.TB, key string, v any) string {
	t.Helper()
	text, _ := v.(string)
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(raw) < 32 {
		t.Fatalf("%v is no ciphertext: %v", v, err)
	}
	block, err := aes.NewCipher([]byte(key))
	if err != nil {
		t.Fatal(err)
	}
	body := raw[16:]
	cipher.NewCBCDecrypter(block, raw[:16]).CryptBlocks(body, body)
	return string(body[:len(body)-int(body[len(body)-1])])
}

// TestEncryption walks the number and customer endpoints with encrypted phones and companies, both ways.
func TestEncryption(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const key, iv = "0123456789abcdef", "aaaaaaaaaaaaaaaa"
	w.must(w.PutDoorKey(t.Context(), store.DoorKey{Account: mainUser, Door: Door, Key: key}))
	seal := func(text string) string { return clientSeal(t, key, iv, text) }
	row := func(phone, company string) object {
		return object{"phone": seal(phone), "company": seal(company), "name": "张三"}
	}

	added := w.ok("POST", numberPath, object{"encryption": true, "data": []any{row("13800000001", "公司一")}})
	if got := clientOpen(t, key, added.at("numbers", 0, "phone")); got != "13800000001" {
		t.Errorf("the answer's phone is %s", got)
	}
	w.ok("POST", numberPath, object{"data": []any{object{"phone": seal("13800000002"), "encryption": true}, object{"phone": "13800000003"}}}) // per row
	batch := w.ok("POST", asyncPath, object{"encryption": 1, "data": []any{row("13800000004", "公司四")}}).at("unique_id").(string)
	w.work(jobImport)
	w.ok("POST", old1+"/async_customer", object{"encryption": true, "data": []any{row("13800000005", "公司五")}})
	w.work(jobPool)

	plain := w.ok("GET", numberPath+"?page=1", nil)
	for i, phone := range []string{"13800000001", "13800000002", "13800000003", "13800000004"} {
		if plain.at(i, "phone") != phone {
			t.Errorf("number %d is %v in the ledger", i, plain.at(i, "phone"))
		}
	}
	if plain.at(0, "company") != "公司一" {
		t.Errorf("company %v", plain.at(0, "company"))
	}
	list := w.ok("GET", numberPath+"?page=1&encryption=true", nil)
	if clientOpen(t, key, list.at(0, "phone")) != "13800000001" || clientOpen(t, key, list.at(0, "number")) != "13800000001" || clientOpen(t, key, list.at(0, "company")) != "公司一" ||
		strings.Contains(list.raw, "138000") || list.at(0, "name") != "张三" {
		t.Errorf("list %s", list.raw)
	}
	if again := w.ok("GET", numberPath+"?page=1&encryption=true", nil); again.raw != list.raw {
		t.Error("the same list is encrypted differently")
	}
	one := w.ok("GET", numberPath+"/detail/"+url.PathEscape(seal("13800000004"))+"?encryption=true", nil)
	if clientOpen(t, key, one.at("phone")) != "13800000004" {
		t.Errorf("detail %s", one.raw)
	}
	slashes := clientSeal(t, key, strings.Repeat("\xff", 16), "13800000004")
	if one := w.ok("GET", numberPath+"/detail/"+slashes+"?encryption=true", nil); clientOpen(t, key, one.at("phone")) != "13800000004" { // put into the address as it is
		t.Errorf("detail of %s: %s", slashes, one.raw)
	}
	if r := w.ok("GET", numberPath+"?page=1&encryption=true&keyword="+url.QueryEscape(seal("13800000002")), nil); r.meta["total"] != tree(t, 1) {
		t.Errorf("keyword: %s", r.raw)
	}
	done := w.ok("GET", old1+"/identification/"+batch, nil)
	file := w.as("", "GET", strings.TrimPrefix(done.at("data", "url").(string), "http://example.com"), nil)
	if strings.Contains(file.raw, "138000") || clientOpen(t, key, strings.Split(file.raw, `"`)[3]) != "13800000004" {
		t.Errorf("the file %s", file.raw)
	}
	pool := w.ok("GET", old1+"/get_customer", object{"page": 1, "encryption": true, "company": seal("公司五")})
	if clientOpen(t, key, pool.at(0, "phone")) != "13800000005" || clientOpen(t, key, pool.at(0, "company")) != "公司五" {
		t.Errorf("pool %s", pool.raw)
	}
	w.ok("PUT", numberPath+"-batch-reset", object{"encryption": true, "phones": []string{seal("13800000001")}})
	if r := w.ok("DELETE", numberPath+"-batch-delete", object{"encryption": true, "customer_info_list": []any{object{"phone": seal("13800000001")}}}); r.at("delete_count") != tree(t, 1) {
		t.Errorf("delete: %s", r.raw)
	}
	if r := w.ok("DELETE", old1+"/del_customer", object{"encryption": true, "phone": []string{seal("13800000005")}}); r.at("delete_count") != tree(t, 1) {
		t.Errorf("delete from the pool: %s", r.raw)
	}

	// What is no ciphertext, or of another key, changes nothing and is named.
	for _, bad := range []string{"13800000009", clientSeal(t, "another key 1234", iv, "13800000009"), "AAAA", "!"} {
		w.bad(w.do("POST", numberPath, object{"encryption": true, "data": []any{object{"phone": bad}}}), 422, "data[0].phone")
	}
	w.bad(w.do("GET", numberPath+"/detail/13800000002?encryption=true", nil), 422, "phone")
	skipped := w.ok("POST", numberPath, object{"encryption": true, "skip_error": true, "data": []any{object{"phone": "13800000009"}, row("13800000010", "")}})
	if !within(tree(t, object{"success_count": 1, "fail_count": 1, "errors": []any{object{"index": 0, "phone": "13800000009"}}}), skipped.data) {
		t.Errorf("skipped: %s", skipped.raw)
	}
	// Without a key it is refused; a sub-account has its main account's.
	w.bad(w.as(otherToken, "GET", "/agent-api/user/"+otherUser+"/get_customer?page=1&encryption=true", nil), 422, "encryption：")
	w.ok("GET", old1+"/get_customer?page=1&encryption=true&sub_user_id="+subUser, nil)
}

func TestCodec(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"0123456789abcdef", "0123456789abcdef01234567", "0123456789abcdef0123456789abcdef", "hex:000102030405060708090a0b0c0d0e0f", "base64:AAECAwQFBgcICQoLDA0ODw=="} {
		k, err := newCodec(key)
		if err != nil {
			t.Fatalf("%s: %v", key, err)
		}
		for _, text := range []string{"1", "13800000001", "0123456789abcdef", "公司", strings.Repeat("长", 200)} {
			sealed := k.seal(text)
			if got, ok := k.open(sealed); !ok || got != text {
				t.Errorf("%s becomes %s", text, got)
			}
			alphabet := strings.TrimRight(strings.NewReplacer("+", "-", "/", "_").Replace(sealed), "=")
			if got, ok := k.open(alphabet); !ok || got != text {
				t.Errorf("%s in the other alphabet becomes %s", text, got)
			}
		}
	}
	for _, key := range []string{"", "short", "hex:00", "base64:!", "hex:zz"} {
		if _, err := newCodec(key); err == nil {
			t.Errorf("%q is taken as a key", key)
		}
	}
}
