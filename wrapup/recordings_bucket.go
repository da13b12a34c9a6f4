package wrapup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"waihu"
	"waihu/store"
)

// Bucket is a place for recordings in a store that speaks the S3 protocol.
type Bucket struct {
	client       *minio.Client
	host         string
	name, prefix string
	patience     time.Duration // with which a listener waits for the store's first answer
}

// OpenBucket reads an address such as https://s3.example.com/bucket/prefix. It asks the store nothing: one that is away delays recordings
// and no call. region may be empty.
func OpenBucket(address, region, key, secret string) (*Bucket, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.RawQuery != "" {
		return nil, errors.New("an address such as https://s3.example.com/bucket/prefix was expected, without credentials in it")
	}
	name, prefix, _ := strings.Cut(strings.Trim(u.Path, "/"), "/")
	if name == "" {
		return nil, errors.New("the address names no bucket: https://s3.example.com/bucket was expected")
	}
	if key == "" || secret == "" {
		return nil, errors.New("a bucket needs an access key and its secret")
	}
	if region == "" {
		region = "us-east-1" // what stores without regions understand; asking for it would be a request more
	}
	transport, err := minio.DefaultTransport(u.Scheme == "https")
	if err != nil {
		return nil, err
	}
	transport.ResponseHeaderTimeout = time.Minute
	client, err := minio.New(u.Host, &minio.Options{Creds: credentials.NewStaticV4(key, secret, ""), Secure: u.Scheme == "https", Region: region, Transport: transport, MaxRetries: 3})
	if err != nil {
		return nil, err
	}
	return &Bucket{client: client, host: u.Host, name: name, prefix: prefix, patience: 10 * time.Second}, nil
}

// Place names the bucket in the ledger.
func (b *Bucket) Place() string { return "s3://" + path.Join(b.host, b.name, b.prefix) }

func (b *Bucket) key(row store.RecordingRow) string { return path.Join(b.prefix, row.Name) }

// Check asks the store whether the bucket is there and ours, for the start: an error says what to do about it.
func (b *Bucket) Check(ctx context.Context) error {
	ok, err := b.client.BucketExists(ctx, b.name)
	if err == nil && !ok {
		err = fmt.Errorf("there is no bucket %q", b.name)
	}
	return err
}

// put copies a file into the bucket and makes sure that it is there as it is here: the store refuses a body that is not what its MD5 says, and what
// it then has must have that checksum too; from a store whose ETag is no MD5 (encrypted buckets) it is read back.
func (b *Bucket) put(ctx context.Context, row store.RecordingRow, file io.Reader, md5 string) error {
	key := b.key(row)
	if _, err := b.client.PutObject(ctx, b.name, key, file, row.Size, minio.PutObjectOptions{
		ContentType: "audio/wav", SendContentMd5: true, DisableMultipart: true, UserMetadata: map[string]string{"Sha256": row.Sum},
	}); err != nil {
		return err
	}
	info, err := b.client.StatObject(ctx, b.name, key, minio.StatObjectOptions{})
	if err != nil {
		return fmt.Errorf("look at the copy: %w", err)
	}
	if info.Size != row.Size {
		return fmt.Errorf("the copy has %d bytes, %d were expected", info.Size, row.Size)
	}
	if strings.EqualFold(strings.Trim(info.ETag, `"`), md5) {
		return nil
	}
	copied, err := b.client.GetObject(ctx, b.name, key, minio.GetObjectOptions{})
	if err != nil {
		return fmt.Errorf("read the copy back: %w", err)
	}
	defer copied.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, copied); err != nil {
		return fmt.Errorf("read the copy back: %w", err)
	}
	if hex.EncodeToString(sum.Sum(nil)) != row.Sum {
		return errors.New("the copy has another checksum than the file")
	}
	return nil
}

// open reads an object as it is asked for: a range costs what it holds.
func (b *Bucket) open(ctx context.Context, row store.RecordingRow) (*waihu.Recording, error) {
	ctx, cancel := context.WithCancel(ctx)
	object, err := b.client.GetObject(ctx, b.name, b.key(row), minio.GetObjectOptions{})
	if err != nil {
		cancel()
		return nil, away(err)
	}
	late := time.AfterFunc(b.patience, cancel) // the object lives in ctx, so no deadline will do
	info, err := object.Stat()
	if !late.Stop() && err == nil {
		err = context.DeadlineExceeded
	}
	if err != nil {
		cancel()
		object.Close()
		if minio.ToErrorResponse(err).StatusCode == http.StatusNotFound {
			return nil, errNoRecording
		}
		return nil, away(err)
	}
	return &waihu.Recording{ReadSeekCloser: bucketObject{object, cancel}, Size: info.Size, ModTime: info.LastModified, Sum: row.Sum}, nil
}

// bucketObject ends its requests when it is closed.
type bucketObject struct {
	*minio.Object
	cancel context.CancelFunc
}

func (o bucketObject) Close() error {
	defer o.cancel()
	return o.Object.Close()
}

func (b *Bucket) remove(ctx context.Context, row store.RecordingRow) error {
	err := b.client.RemoveObject(ctx, b.name, b.key(row), minio.RemoveObjectOptions{})
	if minio.ToErrorResponse(err).StatusCode == http.StatusNotFound {
		return nil
	}
	return err
}

func away(err error) error {
	e := waihu.Errorf(waihu.EUnavailable, "the store of recordings does not answer: try again later")
	e.Cause = err
	return e
}
