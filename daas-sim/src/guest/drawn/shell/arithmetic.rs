//! `$((...))`: integers, variables, `+ - * / %`, comparisons, parentheses.

/// The value of an expression whose variables have been put in.
pub(super) fn evaluate(text: &str) -> Result<i64, String> {
    let mut tokens = Tokens { rest: text.trim(), depth: 0 };
    let value = tokens.comparison()?;
    match tokens.rest.trim() {
        "" => Ok(value),
        rest => Err(format!("arithmetic expression: expecting EOF: {rest:?}")),
    }
}

struct Tokens<'a> {
    rest: &'a str,
    depth: usize,
}

impl Tokens<'_> {
    fn comparison(&mut self) -> Result<i64, String> {
        let left = self.sum()?;
        for operator in ["==", "!=", "<=", ">=", "<", ">"] {
            if self.take(operator) {
                let right = self.sum()?;
                return Ok(i64::from(match operator {
                    "==" => left == right,
                    "!=" => left != right,
                    "<=" => left <= right,
                    ">=" => left >= right,
                    "<" => left < right,
                    _ => left > right,
                }));
            }
        }
        Ok(left)
    }

    fn sum(&mut self) -> Result<i64, String> {
        let mut value = self.product()?;
        loop {
            value = if self.take("+") {
                value.wrapping_add(self.product()?)
            } else if self.take("-") {
                value.wrapping_sub(self.product()?)
            } else {
                return Ok(value);
            };
        }
    }

    fn product(&mut self) -> Result<i64, String> {
        let mut value = self.atom()?;
        loop {
            let operator = ["*", "/", "%"].into_iter().find(|operator| self.take(operator));
            let Some(operator) = operator else { return Ok(value) };
            let right = self.atom()?;
            value = match operator {
                "*" => Some(value.wrapping_mul(right)),
                "/" => value.checked_div(right),
                _ => value.checked_rem(right),
            }
            .ok_or("arithmetic expression: division by zero")?;
        }
    }

    fn atom(&mut self) -> Result<i64, String> {
        self.depth += 1;
        if self.depth > 200 {
            return Err("arithmetic expression: too long".into());
        }
        if self.take("-") {
            return Ok(self.atom()?.wrapping_neg());
        }
        if self.take("(") {
            let value = self.comparison()?;
            return if self.take(")") {
                Ok(value)
            } else {
                Err("arithmetic expression: expecting ')'".into())
            };
        }
        self.rest = self.rest.trim_start();
        let length = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, rest) = self.rest.split_at(length);
        self.rest = rest;
        digits.parse().map_err(|_| format!("arithmetic expression: expecting primary: {rest:?}"))
    }

    fn take(&mut self, operator: &str) -> bool {
        match self.rest.trim_start().strip_prefix(operator) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }
}
