#!lua
-- Publishes one closed window: its staged boards, its history entry, its end in the list of
-- those kept. Answers the length of the history and the ends that fell out of that list.
-- KEYS: meta, history, ends, (staged, live) × views
-- ARGV: token, expected seq, new seq, window end, history_keep or '' if the entry stands,
--       closed_keep, '1' if boards are kept, number of meta fields,
--       (name, value) × those fields, (name, value) × fields of the entry …
local meta = redis.call('HMGET', KEYS[1], 'leader', 'seq')
if meta[1] ~= ARGV[1] then return {'FENCED', meta[1] or ''} end
if (meta[2] or '') ~= ARGV[2] then return {'SEQ', meta[2] or ''} end
for i = 4, #KEYS, 2 do
  if redis.call('EXISTS', KEYS[i]) == 0 then return {'LOST', KEYS[i]} end
end
for i, kind in ipairs({'stream', 'zset'}) do
  local found = redis.call('TYPE', KEYS[i + 1]).ok
  if found ~= 'none' and found ~= kind then return {'TYPE', KEYS[i + 1]} end
end
local entry = 9 + 2 * tonumber(ARGV[8])
-- The first write: an id that is not above the last one leaves everything as it was.
local added = {}
if ARGV[5] == '0' then
  added = redis.pcall('XADD', KEYS[2], ARGV[4] .. '-0', unpack(ARGV, entry))
elseif ARGV[5] ~= '' then
  added = redis.pcall('XADD', KEYS[2], 'MAXLEN', '~', ARGV[5], ARGV[4] .. '-0', unpack(ARGV, entry))
end
if added.err then
  if string.find(added.err, 'equal or smaller', 1, true) then return {'OLD', ARGV[4]} end
  return added
end
for i = 4, #KEYS, 2 do redis.call('RENAME', KEYS[i], KEYS[i + 1]) end
local fallen = {}
if ARGV[7] == '1' then
  redis.call('ZADD', KEYS[3], ARGV[4], ARGV[4])
  if ARGV[6] ~= '0' then
    fallen = redis.call('ZRANGE', KEYS[3], 0, -1 - tonumber(ARGV[6]))
    redis.call('ZREMRANGEBYRANK', KEYS[3], 0, -1 - tonumber(ARGV[6]))
  end
end
redis.call('HSET', KEYS[1], 'seq', ARGV[3], unpack(ARGV, 9, entry - 1))
return {'OK', ARGV[3], tostring(redis.call('XLEN', KEYS[2])), unpack(fallen)}
