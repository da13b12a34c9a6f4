package yunfu

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"

	"waihu/store"
)

// codec encrypts phones and companies on the wire when a request says encryption. The vendor's scheme is not known;
// ours is AES (128, 192 or 256 by the key's length) in CBC with PKCS#7 padding, sent as base64 of the initialisation vector and the
// ciphertext. The vector that we choose hangs on key and text, so that a text is always encrypted to the same; one
// that the client chose at random is read as well. A nil codec leaves texts as they are.
type codec struct {
	block cipher.Block
	key   []byte
}

func newCodec(text string) (*codec, error) {
	key, err := store.ParseDoorKey(text)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	return &codec{block, key}, err
}

// seal encrypts a text; the empty one stays empty.
func (k *codec) seal(text string) string {
	if k == nil || text == "" {
		return text
	}
	mac := hmac.New(sha256.New, k.key)
	mac.Write([]byte(text))
	pad := aes.BlockSize - len(text)%aes.BlockSize
	out := append(mac.Sum(nil)[:aes.BlockSize], text...)
	for range pad {
		out = append(out, byte(pad))
	}
	cipher.NewCBCEncrypter(k.block, out[:aes.BlockSize]).CryptBlocks(out[aes.BlockSize:], out[aes.BlockSize:])
	return base64.StdEncoding.EncodeToString(out)
}

// open is the opposite of seal; either alphabet of base64, with or without padding, is read.
func (k *codec) open(text string) (string, bool) {
	if k == nil || text == "" {
		return text, true
	}
	plainAlphabet := strings.NewReplacer("-", "+", "_", "/", " ", "+", "=", "").Replace(text) // a + that a form turned into a space
	raw, err := base64.RawStdEncoding.DecodeString(plainAlphabet)
	if err != nil || len(raw) < 2*aes.BlockSize || len(raw)%aes.BlockSize != 0 {
		return "", false
	}
	body := raw[aes.BlockSize:]
	cipher.NewCBCDecrypter(k.block, raw[:aes.BlockSize]).CryptBlocks(body, body)
	pad := int(body[len(body)-1])
	if pad < 1 || pad > aes.BlockSize || pad > len(body) {
		return "", false
	}
	for _, b := range body[len(body)-pad:] {
		if int(b) != pad {
			return "", false
		}
	}
	return string(body[:len(body)-pad]), true
}

// codec is how the request's phones and companies are encrypted: nil when it does not say encryption. Without a key
// for the account it is refused: read as plain, the texts would be stored as nonsense.
func (c *request) codec() (*codec, error) { return c.codecOf(c.form.get("encryption")) }

func (c *request) codecOf(n node) (*codec, error) {
	on := n.flag()
	if err := n.f.err(); err != nil || !on {
		return nil, err
	}
	if c.keys == nil {
		text, err := c.s.Store.DoorKey(c.ctx, c.acts.ID, Door)
		if err != nil {
			return nil, err
		}
		if text == "" {
			return nil, wrong(n.path, "该账户未启用接口加密,请传 false 或不传,或联系管理员配置密钥")
		}
		if c.keys, err = newCodec(text); err != nil {
			return nil, err
		}
	}
	return c.keys, nil
}

const notDecrypted = "无法解密,应为 AES-CBC 加密(PKCS7 填充)后 base64(IV + 密文)"

// opened is the text of a field that may be encrypted.
func (k *codec) opened(n node) string {
	text, ok := k.open(n.text())
	if !ok {
		n.fail(notDecrypted)
	}
	return text
}
