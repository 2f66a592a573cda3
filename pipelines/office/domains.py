"""Businesses whose workbooks are generated: what their main sheet, reference sheets and assumptions look
like.

A domain is data: columns and where their contents come from, and the roles that operations look for (what may
be multiplied, grouped, dated, cleaned). `seeds.py` makes workbooks of them.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from pipelines.office.state import DATE, ID, NUMBER, TEXT


@dataclass(frozen=True)
class Field:
    """One column. `source`: ids, days, choice, number, name, company, code, key."""

    name: str
    kind: str
    source: str
    values: tuple[str, ...] = ()
    low: float = 0
    high: float = 0
    digits: int = 0
    unit: str = ""
    blanks: float = 0.0
    """Share of cells that nobody filled in."""


@dataclass(frozen=True)
class Domain:
    """One kind of workbook, around one table of records."""

    name: str
    title: str
    file: str
    sheet: str
    noun: str
    fields: tuple[Field, ...]
    product: tuple[str, str, str]
    """Two columns that are multiplied, and what comes of it."""
    group: tuple[str, ...]
    measure: str
    date: str
    dirty: str
    code: str
    key: str
    lookup_sheet: str
    lookup: tuple[tuple[str, str, tuple[float, float, int]], ...]
    """Attributes of the key: name, unit, range and digits."""
    tier: tuple[str, str]
    """What tiers of the measure give, and the sheet they stand on."""
    rate: tuple[str, float]
    threshold: tuple[str, float]
    days: tuple[str, int]


START = dt.date(2025, 1, 2)
REGIONS = ("North", "South", "East", "West", "Central")


def ids(name: str, prefix: str) -> Field:
    return Field(name, ID, "ids", (prefix,))


def day(name: str) -> Field:
    return Field(name, DATE, "days")


def choice(name: str, *values: str) -> Field:
    return Field(name, TEXT, "choice", values)


def number(name: str, low: float, high: float, digits: int = 0, unit: str = "", blanks: float = 0.0) -> Field:
    return Field(name, NUMBER, "number", (), low, high, digits, unit, blanks)


def code(name: str, *prefixes: str) -> Field:
    return Field(name, TEXT, "code", prefixes)


def key(name: str, *values: str) -> Field:
    return Field(name, TEXT, "key", values)


def dirty(name: str, of: str = "company") -> Field:
    return Field(name, TEXT, of)


DOMAINS: tuple[Domain, ...] = (
    Domain(
        "sales",
        "Sales orders 2025",
        "sales_orders",
        "Orders",
        "order",
        (
            ids("Order no", "SO"),
            day("Order date"),
            choice("Region", *REGIONS),
            dirty("Customer"),
            key("Product", "Desk", "Chair", "Lamp", "Shelf", "Cabinet", "Stool"),
            code("Batch", "NW", "SE", "CT"),
            number("Units", 1, 60),
            number("Unit price", 12, 480, 2, "USD"),
            number("Freight", 4, 90, 2, "USD", 0.06),
        ),
        ("Units", "Unit price", "Revenue"),
        ("Region", "Product"),
        "Units",
        "Order date",
        "Customer",
        "Batch",
        "Product",
        "Products",
        (("Unit cost", "USD", (6, 220, 2)), ("Weight", "kg", (1, 45, 1))),
        ("Discount", "Discounts"),
        ("Commission rate", 0.035),
        ("Large order from (units)", 25),
        ("Payment terms (days)", 30),
    ),
    Domain(
        "payroll",
        "Timesheets, second quarter",
        "timesheets",
        "Timesheets",
        "entry",
        (
            ids("Entry", "T"),
            day("Week ending"),
            choice("Department", "Assembly", "Quality", "Office", "Logistics"),
            dirty("Employee", "name"),
            key("Grade", "G1", "G2", "G3", "G4", "G5"),
            code("Cost code", "AA", "BX", "CQ"),
            number("Hours", 12, 52, 1, "h"),
            number("Hourly rate", 18, 64, 2, "EUR"),
            number("Allowance", 5, 60, 2, "EUR", 0.08),
        ),
        ("Hours", "Hourly rate", "Gross pay"),
        ("Department", "Grade"),
        "Hours",
        "Week ending",
        "Employee",
        "Cost code",
        "Grade",
        "Grades",
        (("Overtime factor", "", (1.1, 1.9, 2)), ("Holiday hours", "h", (1, 6, 1))),
        ("Bonus", "Bonus table"),
        ("Social charge rate", 0.1975),
        ("Overtime from (hours)", 40),
        ("Pay delay (days)", 10),
    ),
    Domain(
        "inventory",
        "Stock movements",
        "stock_movements",
        "Movements",
        "movement",
        (
            ids("Movement", "M"),
            day("Booked on"),
            choice("Warehouse", "Lyon", "Gent", "Brno", "Porto"),
            dirty("Supplier"),
            key("Article", "Bolt M6", "Bolt M8", "Washer", "Bracket", "Spring", "Bearing"),
            code("Lot", "LA", "LB", "LC"),
            number("Quantity", 20, 900),
            number("Unit cost", 0.2, 18, 2, "EUR"),
            number("Scrap", 0, 25, 0, "pcs", 0.1),
        ),
        ("Quantity", "Unit cost", "Stock value"),
        ("Warehouse", "Article"),
        "Quantity",
        "Booked on",
        "Supplier",
        "Lot",
        "Article",
        "Articles",
        (("Reorder level", "pcs", (50, 400, 0)), ("Lead time", "days", (3, 45, 0))),
        ("Handling fee", "Fees"),
        ("Insurance rate", 0.0125),
        ("Large movement from (pcs)", 500),
        ("Inspection period (days)", 14),
    ),
    Domain(
        "clinic",
        "Outpatient visits",
        "outpatient_visits",
        "Visits",
        "visit",
        (
            ids("Visit", "V"),
            day("Visit date"),
            choice("Clinic", "Cardiology", "Dermatology", "Orthopaedics", "Eye"),
            dirty("Patient", "name"),
            key("Procedure", "Consultation", "Follow-up", "Imaging", "Minor surgery", "Lab panel"),
            code("Room", "RA", "RB", "RC"),
            number("Minutes", 10, 95, 0, "min"),
            number("Fee per minute", 1.1, 6.5, 2, "CHF"),
            number("Materials", 2, 140, 2, "CHF", 0.12),
        ),
        ("Minutes", "Fee per minute", "Fee"),
        ("Clinic", "Procedure"),
        "Minutes",
        "Visit date",
        "Patient",
        "Room",
        "Procedure",
        "Procedures",
        (("Base charge", "CHF", (20, 310, 2)), ("Staff needed", "", (1, 4, 0))),
        ("Surcharge", "Surcharges"),
        ("Insurer share", 0.9),
        ("Long visit from (min)", 60),
        ("Billing delay (days)", 21),
    ),
    Domain(
        "subscriptions",
        "Subscription contracts",
        "subscriptions",
        "Contracts",
        "contract",
        (
            ids("Contract", "C"),
            day("Start date"),
            choice("Segment", "Startup", "Mid-market", "Enterprise", "Public"),
            dirty("Account"),
            key("Plan", "Basic", "Team", "Business", "Scale"),
            code("Rep code", "EU", "US", "AP"),
            number("Seats", 3, 240),
            number("Price per seat", 8, 95, 2, "USD"),
            number("Setup fee", 100, 900, 0, "USD", 0.1),
        ),
        ("Seats", "Price per seat", "Monthly fee"),
        ("Segment", "Plan"),
        "Seats",
        "Start date",
        "Account",
        "Rep code",
        "Plan",
        "Plans",
        (("List price", "USD", (9, 99, 2)), ("Support hours", "h", (1, 40, 0))),
        ("Volume discount", "Discounts"),
        ("Churn rate", 0.022),
        ("Key account from (seats)", 100),
        ("Trial period (days)", 45),
    ),
    Domain(
        "property",
        "Rent roll",
        "rent_roll",
        "Leases",
        "lease",
        (
            ids("Lease", "L"),
            day("Lease start"),
            choice("Building", "Harbour 1", "Mill Yard", "Oak Court", "Station Sq"),
            dirty("Tenant"),
            key("Use", "Office", "Retail", "Storage", "Studio"),
            code("Unit code", "A", "B", "C"),
            number("Area", 25, 640, 1, "m2"),
            number("Rent per m2", 9, 42, 2, "EUR"),
            number("Service charge", 40, 800, 2, "EUR", 0.07),
        ),
        ("Area", "Rent per m2", "Monthly rent"),
        ("Building", "Use"),
        "Area",
        "Lease start",
        "Tenant",
        "Unit code",
        "Use",
        "Uses",
        (("Heating cost", "EUR", (1, 4, 2)), ("Tax factor", "", (0.8, 1.6, 2))),
        ("Rebate", "Rebates"),
        ("Indexation", 0.028),
        ("Large unit from (m2)", 300),
        ("Rent-free period (days)", 60),
    ),
    Domain(
        "marketing",
        "Campaign results",
        "campaigns",
        "Campaigns",
        "campaign",
        (
            ids("Campaign", "K"),
            day("Launch"),
            choice("Channel", "Search", "Social", "Display", "Email", "Radio"),
            dirty("Agency"),
            key("Market", "DE", "FR", "ES", "IT", "PL"),
            code("Creative", "VID", "IMG", "TXT"),
            number("Clicks", 150, 9800),
            number("Cost per click", 0.15, 4.2, 2, "EUR"),
            number("Sign-ups", 3, 400, 0, "", 0.09),
        ),
        ("Clicks", "Cost per click", "Spend"),
        ("Channel", "Market"),
        "Clicks",
        "Launch",
        "Agency",
        "Creative",
        "Market",
        "Markets",
        (("Budget per click", "EUR", (0.5, 3, 2)), ("Conversion target", "", (0.01, 0.2, 3))),
        ("Agency bonus", "Bonus table"),
        ("Agency fee rate", 0.12),
        ("Major campaign from (clicks)", 4000),
        ("Reporting lag (days)", 7),
    ),
    Domain(
        "logistics",
        "Shipments",
        "shipments",
        "Shipments",
        "shipment",
        (
            ids("Shipment", "S"),
            day("Shipped"),
            choice("Carrier", "Aero", "Rail24", "Roadex", "Seabird"),
            dirty("Consignee"),
            key("Lane", "HAM-MIL", "ROT-LYS", "ANT-WAW", "BCN-MUC", "GDN-VIE"),
            code("Container", "TEU", "FEU"),
            number("Weight", 40, 2400, 0, "kg"),
            number("Rate per kg", 0.08, 1.9, 3, "EUR"),
            number("Customs", 10, 320, 2, "EUR", 0.15),
        ),
        ("Weight", "Rate per kg", "Freight cost"),
        ("Carrier", "Lane"),
        "Weight",
        "Shipped",
        "Consignee",
        "Container",
        "Lane",
        "Lanes",
        (("Distance", "km", (400, 1900, 0)), ("Toll", "EUR", (20, 210, 2))),
        ("Fuel surcharge", "Surcharges"),
        ("Insurance rate", 0.004),
        ("Heavy from (kg)", 1500),
        ("Transit time (days)", 5),
    ),
    Domain(
        "energy",
        "Meter readings",
        "meter_readings",
        "Readings",
        "reading",
        (
            ids("Reading", "R"),
            day("Read on"),
            choice("Site", "Plant A", "Plant B", "Office", "Depot"),
            dirty("Read by", "name"),
            key("Tariff", "Day", "Night", "Weekend", "Peak"),
            code("Meter", "EL", "GA", "WA"),
            number("Consumption", 80, 5200, 0, "kWh"),
            number("Price per kWh", 0.09, 0.48, 4, "EUR"),
            number("Demand", 4, 90, 1, "kW", 0.1),
        ),
        ("Consumption", "Price per kWh", "Energy cost"),
        ("Site", "Tariff"),
        "Consumption",
        "Read on",
        "Read by",
        "Meter",
        "Tariff",
        "Tariffs",
        (("Standing charge", "EUR", (3, 48, 2)), ("CO2 factor", "kg", (0.1, 0.6, 3))),
        ("Grid rebate", "Rebates"),
        ("Energy tax", 0.055),
        ("High consumption from (kWh)", 3000),
        ("Correction period (days)", 28),
    ),
    Domain(
        "expenses",
        "Expense claims",
        "expense_claims",
        "Claims",
        "claim",
        (
            ids("Claim", "E"),
            day("Paid on"),
            choice("Team", "Sales", "Research", "Support", "Finance"),
            dirty("Claimant", "name"),
            key("Category", "Hotel", "Travel", "Meals", "Training", "Supplies"),
            code("Project", "P", "Q", "R"),
            number("Nights or items", 1, 14),
            number("Cost each", 9, 310, 2, "GBP"),
            number("VAT", 1, 60, 2, "GBP", 0.1),
        ),
        ("Nights or items", "Cost each", "Claimed"),
        ("Team", "Category"),
        "Nights or items",
        "Paid on",
        "Claimant",
        "Project",
        "Category",
        "Limits",
        (("Limit each", "GBP", (30, 260, 2)), ("Receipts needed", "", (1, 3, 0))),
        ("Flat addition", "Additions"),
        ("Disallowed share", 0.05),
        ("Needs approval from (items)", 8),
        ("Refund within (days)", 15),
    ),
    Domain(
        "education",
        "Course enrolments",
        "enrolments",
        "Enrolments",
        "enrolment",
        (
            ids("Enrolment", "N"),
            day("Enrolled"),
            choice("Campus", "City", "Riverside", "Online", "Hill"),
            dirty("Student", "name"),
            key("Course", "Statistics", "Accounting", "Spanish", "Design", "Welding"),
            code("Group", "GA", "GB"),
            number("Credits", 2, 30),
            number("Fee per credit", 35, 190, 2, "USD"),
            number("Materials fee", 5, 120, 2, "USD", 0.08),
        ),
        ("Credits", "Fee per credit", "Tuition"),
        ("Campus", "Course"),
        "Credits",
        "Enrolled",
        "Student",
        "Group",
        "Course",
        "Courses",
        (("Weeks", "", (4, 16, 0)), ("Tutor cost", "USD", (200, 900, 0))),
        ("Scholarship", "Scholarships"),
        ("Administration rate", 0.07),
        ("Full time from (credits)", 20),
        ("Withdrawal period (days)", 14),
    ),
)
