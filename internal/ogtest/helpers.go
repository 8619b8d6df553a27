package ogtest

import "strings"

// helperSQL makes the schema of what the stand-in needs in PostgreSQL.
//
// guard gives a table a trigger that counts the bytes of its varchar and char
// columns. It leaves one that is right alone, because to make it needs a lock
// that concurrent writers would feel.
func helperSQL(schema string, o *Options) string {
	return strings.NewReplacer("SCHEMA_", schema, "VERSION_", literal(o.version()), "NUMBER_", literal(o.Version)).Replace(`
CREATE SCHEMA SCHEMA_;
CREATE FUNCTION SCHEMA_.version() RETURNS text LANGUAGE sql AS $$ SELECT VERSION_::text $$;
CREATE FUNCTION SCHEMA_.opengauss_version() RETURNS text LANGUAGE sql AS $$ SELECT NUMBER_::text $$;
CREATE FUNCTION SCHEMA_.pg_backend_pid() RETURNS bigint LANGUAGE sql AS $$ SELECT 140000000000000 + pg_catalog.pg_backend_pid() $$;
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
