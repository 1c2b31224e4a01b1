-- Removes a consumer with what waits for it. ARGV: consumer. Answers whether there was one.
local consumer = ARGV[1]
local subjects = redis.call('SMEMBERS', base .. ':takes:' .. consumer)
if #subjects == 0 then return 0 end
for _, subject in ipairs(subjects) do
  redis.pcall('XGROUP', 'DESTROY', base .. ':s:' .. subject, consumer)
  redis.call('SREM', base .. ':subs:' .. subject, consumer)
  -- Without a stream, what is published for nobody is counted instead of kept.
  if redis.call('SCARD', base .. ':subs:' .. subject) == 0 then
    redis.call('DEL', base .. ':s:' .. subject, base .. ':due:' .. subject)
  else
    trim('s:' .. subject)
  end
end
for _, kind in ipairs({ 'takes', 'at', 'tries', 'later', 'q' }) do
  redis.call('DEL', base .. ':' .. kind .. ':' .. consumer)
end
return 1
