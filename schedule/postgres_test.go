package schedule

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
)

// postgresDSN is the address of an empty schema, on the server that WAIHU_TEST_POSTGRES names
// (postgres://user@host/database), else on a private one of this test binary's own.
func postgresDSN(t testing.TB) string {
	t.Helper()
	base, err := os.Getenv("WAIHU_TEST_POSTGRES"), error(nil)
	if base == "" {
		base, err = privateServer()
	}
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() == 77 {
		if os.Getenv("WAIHU_TEST_REQUIRE") != "" {
			t.Fatal("PostgreSQL is not installed and WAIHU_TEST_POSTGRES names no server")
		}
		t.Skip("PostgreSQL is not installed and WAIHU_TEST_POSTGRES names no server")
	} else if err != nil {
		t.Fatalf("start a private PostgreSQL: %v", err)
	}
	schema := fmt.Sprintf("waihu_schedule_%d_%d", os.Getpid(), schemas.Add(1))
	onServer(t, base, "create schema "+schema)
	t.Cleanup(func() { onServer(t, base, "drop schema "+schema+" cascade") })
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("search_path", schema)
	u.RawQuery = q.Encode()
	return u.String()
}

var schemas atomic.Int64

func onServer(t testing.TB, base, sql string) {
	t.Helper()
	c, err := pgx.Connect(context.Background(), base)
	if err != nil {
		t.Fatalf("connect to the test server: %v", err)
	}
	defer c.Close(context.Background())
	for try := 0; ; try++ {
		_, err := c.Exec(context.Background(), sql)
		var refused interface{ SQLState() string }
		if try < 9 && errors.As(err, &refused) && refused.SQLState() == "40P01" { // of two that wait for each other the server has undone ours
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		return
	}
}

// stopPostgres ends the private server; it would end with us anyway.
var stopPostgres = func() {}

// privateServer starts testdata/postgres.sh, which serves until the pipe to it is closed. Tests kill processes, never the
// server and not the power, so it need not sync; benchmarks measure the real thing.
var privateServer = sync.OnceValues(func() (string, error) {
	fsync := "off"
	if f := flag.Lookup("test.bench"); f != nil && f.Value.String() != "" {
		fsync = "on"
	}
	cmd := exec.Command("../testdata/postgres.sh", "-c", "fsync="+fsync)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return "", err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return "", cmd.Wait()
	}
	stopPostgres = func() {
		in.Close()
		cmd.Wait()
	}
	return strings.TrimSpace(line), nil
})
