-- Makes consumers durable. ARGV for each: name, number of subjects, subjects. Answers how many groups were missing that
-- had been there.
local restored, i = 0, 1
while i <= #ARGV do
  local consumer, many = ARGV[i], tonumber(ARGV[i + 1])
  for j = i + 2, i + 1 + many do
    local subject = ARGV[j]
    local known = redis.call('SADD', base .. ':takes:' .. consumer, subject) == 0
    redis.call('SADD', base .. ':subs:' .. subject, consumer)
    restored = restored + ensure('s:' .. subject, consumer, known)
  end
  ensure('q:' .. consumer, consumer, redis.call('HEXISTS', base .. ':at:' .. consumer, 'q:' .. consumer) == 1)
  i = i + 2 + many
end
return restored
