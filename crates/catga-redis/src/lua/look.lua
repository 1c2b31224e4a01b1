-- Looks whether somebody is at a key. ARGV: key. Answers 1 and for how long in microseconds, or 0.
local kept, time = redis.call('GET', base .. ':in:' .. ARGV[1]), now()
if not kept or string.sub(kept, 1, 1) ~= 'C' then return { 0, '0' } end
local till = tonumber(string.sub(kept, string.find(kept, ':', 1, true) + 1))
if till <= time then return { 0, '0' } end
return { 1, digits(till - time) }
