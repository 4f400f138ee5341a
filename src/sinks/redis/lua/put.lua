#!lua
-- Writes and removes values of single entities and keeps their index. The sequence number is
-- checked and left alone: these values follow the swap that carried it.
-- KEYS: meta, index, keys to set …, keys to remove …
-- ARGV: token, expected seq, TTL in ms, value …
local meta = redis.call('HMGET', KEYS[1], 'leader', 'seq')
if meta[1] ~= ARGV[1] then return {'FENCED', meta[1] or ''} end
if (meta[2] or '') ~= ARGV[2] then return {'SEQ', meta[2] or ''} end
local found = redis.call('TYPE', KEYS[2]).ok
if found ~= 'none' and found ~= 'set' then return {'TYPE', KEYS[2]} end
local last = #ARGV - 1
for i = 3, last do redis.call('SET', KEYS[i], ARGV[i + 1], 'PX', ARGV[3]) end
if last >= 3 then redis.call('SADD', KEYS[2], unpack(KEYS, 3, last)) end
if #KEYS > last then
  redis.call('UNLINK', unpack(KEYS, last + 1))
  redis.call('SREM', KEYS[2], unpack(KEYS, last + 1))
end
redis.call('PEXPIRE', KEYS[2], 2 * tonumber(ARGV[3]))
return {'OK', ARGV[2]}
