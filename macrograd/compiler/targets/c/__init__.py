"""Programs as portable C99: text that needs no library but `math.h`."""
