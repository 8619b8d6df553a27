package opengauss

import "testing"

func TestParseVersion(t *testing.T) {
	for _, c := range []struct{ version, product, number string }{
		{"(openGauss 5.0.2 build 48a25b11) compiled at 2024-05-14 10:53:45 commit 0 last mr  on x86_64-unknown-linux-gnu, compiled by g++ (GCC) 7.3.0, 64-bit", "openGauss", "5.0.2"},
		{"(openGauss 6.0.2 build ) compiled at 2025-01-01 00:00:00 commit 0 last mr", "openGauss", "6.0.2"},
		{"(openGauss-lite 7.0.0-RC3 build ) compiled at 2026-01-01 00:00:00 commit 0 last mr", "openGauss-lite", "7.0.0"},
		{"PostgreSQL 9.2.4 (openGauss 2.0.x build 38a9312a) compiled at 2021-03-31", "openGauss", "2.0"},
		{"(MogDB 5.0.0 build 503a9ef7) compiled at 2023-06-26", "MogDB", "5.0.0"},
		{"(Vastbase G100 V2.2 (Build 10) Release) compiled at 2022-01-01", "Vastbase G100", "2.2"},
		{"PostgreSQL 9.2.4 (Vastbase G100 V2.2 (Build 5) Release)", "Vastbase G100", "2.2"},
		{"gaussdb (GaussDB Kernel 505.2.1 build 01df718e) compiled at 2024-11-01", "GaussDB Kernel", "505.2.1"},
		{"gaussdb (GaussDB Kernel V500R002C10 build ) compiled at 2021-01-01", "GaussDB Kernel", "500"},
		{version: "PostgreSQL 15.12 (Debian 15.12-0+deb12u2) on x86_64-pc-linux-gnu, compiled by gcc (Debian 12.2.0-14) 12.2.0, 64-bit"},
		{version: "PostgreSQL 9.2.4 on x86_64-unknown-linux-gnu"},
		{version: "(openGauss ...)"},
		{version: ""},
	} {
		product, number, ok := ParseVersion(c.version)
		if product != c.product || number != c.number || ok != (c.product != "") {
			t.Errorf("%q: got %q, %q, %v", c.version, product, number, ok)
		}
	}
}
