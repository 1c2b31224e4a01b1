-- Counts what waits for a consumer or is with it. ARGV: consumer.
local consumer, count = ARGV[1], 0

local function waits(suffix)
  local stream = base .. ':' .. suffix
  local facts = group_of(stream, consumer)
  if not facts then return end
  count = count + facts.pending
  if facts.lag then
    count = count + facts.lag
    return
  end
  local from = facts['last-delivered-id']
  repeat
    local page = redis.call('XRANGE', stream, '(' .. from, '+', 'COUNT', 1000)
    count = count + #page
    if #page > 0 then from = page[#page][1] end
  until #page < 1000
end

for _, subject in ipairs(redis.call('SMEMBERS', base .. ':takes:' .. consumer)) do
  waits('s:' .. subject)
  count = count + redis.call('ZCARD', base .. ':due:' .. subject)
end
waits('q:' .. consumer)
return count
