-- What scripts share that keep dead letters. A letter is an entry of one stream, its id the letter's number.
local function bury(fields)
  local id = digits(redis.call('INCR', base .. ':letters:n'))
  redis.call('XADD', base .. ':letters', id .. '-0', unpack(fields))
  return id
end
