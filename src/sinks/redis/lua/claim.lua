#!lua
-- Takes the lease and with it the prefix for one writer, or says why not. Nothing is written
-- unless all is well.
-- KEYS: meta, lease         ARGV: token, configuration hash, lease in ms, '1' at a start,
--                                 '1' to leave a prefix alone whose meta is gone
local meta = redis.call('HMGET', KEYS[1], 'leader', 'config_hash', 'ended', 'seq')
if ARGV[4] == '1' then
  if meta[2] and meta[2] ~= ARGV[2] then return {'CHANGED', meta[2]} end
  if meta[3] == '1' then return {'ENDED', ''} end
elseif meta[1] and meta[1] ~= ARGV[1] then
  return {'FENCED', meta[1]}
end
if ARGV[5] == '1' and not meta[1] then return {'GONE', ''} end
local holder = redis.call('GET', KEYS[2])
if holder and holder ~= ARGV[1] then return {'HELD', holder} end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[3])
redis.call('HSET', KEYS[1], 'leader', ARGV[1], 'config_hash', ARGV[2])
return {'OK', meta[4] or ''}
