package opengauss_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/memdbwriter/memdbwriter/opengauss"
)

func ExampleParsePoolConfig() {
	ctx := context.Background()
	cfg, err := opengauss.ParsePoolConfig("opengauss://scanner@db1.example.com,db2.example.com/catalog?target_session_attrs=read-write&sslmode=verify-full")
	if err != nil {
		log.Fatal(err)
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
}

func ExampleParseConfig() {
	cfg, err := opengauss.ParseConfig("opengauss://scanner@db.example.com/catalog")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(cfg.Host, cfg.Port, cfg.Database)
	// Output: db.example.com 5432 catalog
}

// A program that has its own pool configuration adds the login to it, here
// with an iteration count that the administrator chose.
func ExampleConfigurePool() {
	cfg, err := pgxpool.ParseConfig(os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	opengauss.ConfigurePool(cfg, 50000)
	pool, err := pgxpool.NewWithConfig(context.Background(), cfg)
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
}

func ExampleConfigure() {
	cfg, err := pgconn.ParseConfig("host=db.example.com user=scanner dbname=catalog")
	if err != nil {
		log.Fatal(err)
	}
	opengauss.Configure(cfg)
	conn, err := pgconn.ConnectConfig(context.Background(), cfg)
	if errors.Is(err, opengauss.ErrServerSignature) {
		log.Fatal("wrong password, or not our server: ", err)
	}
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close(context.Background())
}

func ExampleIsOpenGauss() {
	ctx := context.Background()
	cfg, err := opengauss.ParseConfig(os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	cfg.AfterConnect = func(ctx context.Context, conn *pgconn.PgConn) error {
		if !opengauss.IsOpenGauss(conn) {
			return nil
		}
		// openGauss ends sessions that are idle for ten minutes.
		return conn.Exec(ctx, "SET session_timeout = 0").Close()
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close(ctx)
}

func ExampleParseVersion() {
	product, number, ok := opengauss.ParseVersion("(openGauss 5.0.2 build 48a25b11) compiled at 2024-05-14 on x86_64-unknown-linux-gnu, 64-bit")
	fmt.Println(product, number, ok)
	// Output: openGauss 5.0.2 true
}
