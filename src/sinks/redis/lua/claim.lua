#!lua
-- Takes the prefix for one writer, or says why not. Nothing is written unless all is well.
-- KEYS: meta                ARGV: token, configuration hash, '1' to refuse another hash or an end
local meta = redis.call('HMGET', KEYS[1], 'leader', 'config_hash', 'ended', 'seq')
if ARGV[3] == '1' then
  if meta[2] and meta[2] ~= ARGV[2] then return {'CHANGED', meta[2]} end
  if meta[3] == '1' then return {'ENDED', ''} end
end
if meta[1] and meta[1] ~= ARGV[1] then return {'FENCED', meta[1]} end
redis.call('HSET', KEYS[1], 'leader', ARGV[1], 'config_hash', ARGV[2])
return {'OK', meta[4] or ''}
