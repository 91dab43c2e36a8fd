-- Texts with a NUL in them, which PostgreSQL's text and jsonb can not hold and JSON can (as \u0000).

-- Messages are kept as they were written: `json` does not look into its strings.
alter table saga.inbox alter column body type json using body::text::json;

-- The journal for human eyes. Reads plain JSON only; other codecs are read by the program. A NUL is
-- shown as U+FFFD. (A backslash before `\u0000` makes it six plain characters, two make it a NUL again.)
create or replace view saga.history as
select e.shard_id, e.saga_id, e.seq, f.number, e.at,
       fact.key as fact, fact.value as detail
  from saga.entry e
 cross join lateral (select convert_from(e.body, 'UTF8') as text) j
 cross join lateral jsonb_array_elements((
     case position('\u0000' in j.text)
     when 0 then j.text
     else regexp_replace(j.text, '(?<!\\)((?:\\\\)*)\\u0000', '\1\\ufffd', 'g')
     end)::jsonb) with ordinality f(body, number)
 cross join lateral (
     select key, value from jsonb_each(case jsonb_typeof(f.body) when 'object' then f.body else jsonb_build_object(f.body #>> '{}', null) end)
 ) fact
 where e.codec = 0;
