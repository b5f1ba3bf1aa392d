-- Requests of which no two have the same fields: what a proxy remembers of earlier ones is of no use.
local number = 0

request = function()
  number = number + 1
  return wrk.format("GET", nil, {["X-Request-Number"] = number})
end
