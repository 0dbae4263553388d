CREATE TABLE orders (
    number TEXT PRIMARY KEY,
    customer_id INTEGER NOT NULL REFERENCES customers (id)
);

CREATE TABLE order_lines (
    order_number TEXT NOT NULL REFERENCES orders (number),
    article TEXT NOT NULL,
    quantity INTEGER NOT NULL CHECK (quantity > 0),
    cents INTEGER NOT NULL
);
