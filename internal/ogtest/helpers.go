package ogtest

import "strings"

// helperSQL makes the schema of what the stand-in needs in PostgreSQL.
//
// left_open are transactions that a crash ended: unlike one that was rolled
// back, openGauss has no word about them (opengauss.md 12).
//
// guard gives a table a trigger that counts the bytes of its varchar and char
// columns. It leaves one that is right alone, because to make it needs a lock
// that concurrent writers would feel.
func helperSQL(schema string, o *Options) string {
	return strings.NewReplacer("SCHEMA_", schema, "VERSION_", literal(o.version()), "NUMBER_", literal(o.Version), "NODE_", literal(nodeName)).Replace(`
CREATE SCHEMA SCHEMA_;
CREATE FUNCTION SCHEMA_.version() RETURNS text LANGUAGE sql AS $$ SELECT VERSION_::text $$;
CREATE FUNCTION SCHEMA_.opengauss_version() RETURNS text LANGUAGE sql AS $$ SELECT NUMBER_::text $$;
CREATE FUNCTION SCHEMA_.pg_backend_pid() RETURNS bigint LANGUAGE sql AS $$ SELECT 140000000000000 + pg_catalog.pg_backend_pid() $$;
CREATE FUNCTION SCHEMA_.pg_terminate_backend(pid bigint) RETURNS boolean LANGUAGE sql AS $$
	SELECT pg_catalog.pg_terminate_backend((pid - 140000000000000)::int)
$$;
CREATE VIEW SCHEMA_.pg_stat_activity AS SELECT datid, datname, 140000000000000 + pid AS pid, usesysid, usename, application_name,
	client_addr, client_hostname, client_port, backend_start, xact_start, query_start, state_change, state, query
	FROM pg_catalog.pg_stat_activity;
CREATE VIEW SCHEMA_.pg_settings AS SELECT 'pgxc_node_name'::text AS name, NODE_::text AS setting;
CREATE TABLE SCHEMA_.left_open (xid bigint);
CREATE FUNCTION SCHEMA_.pgxc_is_committed(x xid) RETURNS boolean LANGUAGE sql AS $$
	SELECT CASE pg_catalog.txid_status(x::text::bigint) WHEN 'committed' THEN true
		WHEN 'aborted' THEN CASE WHEN EXISTS (SELECT FROM SCHEMA_.left_open l WHERE l.xid::text = x::text) THEN NULL ELSE false END END
$$;
CREATE FUNCTION SCHEMA_.count_bytes() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
	r jsonb := to_jsonb(NEW);
BEGIN
	FOR i IN 0 .. TG_NARGS / 3 - 1 LOOP
		IF octet_length(rtrim(r ->> TG_ARGV[3 * i])) > TG_ARGV[3 * i + 2]::int THEN
			RAISE 'value too long for type %(%)', TG_ARGV[3 * i + 1], TG_ARGV[3 * i + 2]
				USING ERRCODE = '22001', COLUMN = TG_ARGV[3 * i];
		END IF;
	END LOOP;
	RETURN NEW;
END $$;
CREATE FUNCTION SCHEMA_.guard(name text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	t regclass := to_regclass(name);
	args text;
	def text;
BEGIN
	SELECT string_agg(format('%L, %L, %L', a.attname, format_type(a.atttypid, -1), (a.atttypmod - 4)::text), ', ' ORDER BY a.attnum)
		INTO args FROM pg_catalog.pg_attribute a
		WHERE a.attrelid = t AND a.attnum > 0 AND NOT a.attisdropped
			AND a.atttypid IN ('varchar'::regtype, 'bpchar'::regtype) AND a.atttypmod > 4;
	SELECT pg_get_triggerdef(oid) INTO def FROM pg_catalog.pg_trigger WHERE tgrelid = t AND tgname = 'zz_count_bytes';
	IF def IS NULL AND args IS NULL OR right(def, length(args) + 1) = args || ')' THEN
		RETURN;
	END IF;
	IF def IS NOT NULL THEN
		EXECUTE format('DROP TRIGGER zz_count_bytes ON %s', t);
	END IF;
	IF args IS NOT NULL THEN
		EXECUTE format('CREATE TRIGGER zz_count_bytes BEFORE INSERT OR UPDATE ON %s FOR EACH ROW EXECUTE PROCEDURE SCHEMA_.count_bytes(%s)', t, args);
	END IF;
END $$;`)
}
