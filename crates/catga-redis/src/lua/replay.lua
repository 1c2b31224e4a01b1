-- Hands a letter to its consumer. ARGV: number, consumer, key of its mark (empty: none), frame.
-- Answers 0 where there is none, 1 where it did, 2 where the consumer takes nothing.
local letters, id = base .. ':letters', ARGV[1] .. '-0'
local consumer = ARGV[2]
if #redis.call('XRANGE', letters, id, id) == 0 then return 0 end
if redis.call('EXISTS', base .. ':takes:' .. consumer) == 0 then return 2 end
if ARGV[3] ~= '' then redis.call('DEL', base .. ':in:' .. ARGV[3]) end
ensure('q:' .. consumer, consumer, redis.call('HEXISTS', base .. ':at:' .. consumer, 'q:' .. consumer) == 1)
redis.call('XADD', base .. ':q:' .. consumer, '*', 'f', ARGV[4], 'to', consumer)
redis.call('XDEL', letters, id)
return 1
