#!/usr/bin/env python3
"""Makes demo/office-day.csv: a day of one office room, a reading a minute, for machines without the real recording.

A made-up room, not a measured one: people come at about eight and go at about six, CO2 follows them, the heating
follows the clock. The seed is fixed, so the file is the same each time: python3 demo/office-day.py > demo/office-day.csv
"""
import math
import random

random.seed(17)
people, co2, warmth = 0, 430.0, 19.4
print("date,Temperature,Humidity,Light,CO2,Occupancy")
for minute in range(24 * 60):
    hour = minute / 60
    if 7.5 < hour < 18.5 and random.random() < 0.02:
        people = random.choice([1, 2, 2, 3, 0] if hour < 17 else [0, 0, 1])
    if hour >= 18.5 or hour < 7.5:
        people = 0
    co2 += people * 7.5 - (co2 - 420) * 0.012 + random.gauss(0, 1.5)
    target = 21.6 if 6 < hour < 18 else 19.2
    warmth += (target - warmth) * 0.006 + people * 0.004 + random.gauss(0, 0.01)
    sun = max(0.0, math.sin((hour - 7) / 11 * math.pi)) * 120 if 7 < hour < 18 else 0.0
    light = sun + (380 if people else 0) + (random.gauss(0, 4) if people or sun else 0)
    humidity = 27 + people * 0.4 + 2 * math.sin(hour / 24 * 2 * math.pi) + random.gauss(0, 0.05)
    print(
        f"2026-03-02 {minute // 60:02d}:{minute % 60:02d}:00,{warmth:.2f},{humidity:.3f},"
        f"{max(0.0, light):.1f},{co2:.2f},{1 if people else 0}"
    )
