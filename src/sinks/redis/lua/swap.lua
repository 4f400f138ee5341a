#!lua
-- Makes staged views live, all at once. A script has no roll-back, so everything that can be
-- refused is checked before the first write.
-- KEYS: meta, (staged, live) × views, emptied views …
-- ARGV: token, expected seq, new seq, views, channel or '', notice, fields to set, (name, value) …, names to remove …
local meta = redis.call('HMGET', KEYS[1], 'leader', 'seq')
if meta[1] ~= ARGV[1] then return {'FENCED', meta[1] or ''} end
if (meta[2] or '') ~= ARGV[2] then return {'SEQ', meta[2] or ''} end
local last = 1 + 2 * tonumber(ARGV[4])
for i = 2, last, 2 do
  if redis.call('EXISTS', KEYS[i]) == 0 then return {'LOST', KEYS[i]} end
end
for i = 2, last, 2 do redis.call('RENAME', KEYS[i], KEYS[i + 1]) end
for i = last + 1, #KEYS do redis.call('UNLINK', KEYS[i]) end
local fields = 7 + 2 * tonumber(ARGV[7])
redis.call('HSET', KEYS[1], 'seq', ARGV[3], unpack(ARGV, 8, fields))
if fields < #ARGV then redis.call('HDEL', KEYS[1], unpack(ARGV, fields + 1)) end
if ARGV[5] ~= '' then redis.call('PUBLISH', ARGV[5], ARGV[6]) end
return {'OK', ARGV[3]}
