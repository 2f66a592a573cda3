"""What is known of worksheet functions: how new ones are written in files, which engine lacks which, and
which reach outside the workbook.

Measured, not assumed: `benchmarks/recalculation.py` asks both engines for every name here that it has a
formula for.
"""

from __future__ import annotations

from openpyxl.utils import FORMULAE

# Functions of after 2007, as files write them. A person types the bare name; openpyxl passes on what it is
# given, so a bare name in a file means the function and is completed in the copy that is recalculated.
_NEW = """
ACOT ACOTH AGGREGATE ARABIC ARRAYTOTEXT BASE BETA.DIST BETA.INV BINOM.DIST BINOM.DIST.RANGE BINOM.INV
BITAND BITLSHIFT BITOR BITRSHIFT BITXOR BYCOL BYROW CEILING.MATH CEILING.PRECISE CHISQ.DIST CHISQ.DIST.RT
CHISQ.INV CHISQ.INV.RT CHISQ.TEST CHOOSECOLS CHOOSEROWS COMBINA CONCAT CONFIDENCE.NORM CONFIDENCE.T COT
COTH COVARIANCE.P COVARIANCE.S CSC CSCH DAYS DECIMAL DROP ENCODEURL ERF.PRECISE ERFC.PRECISE EXPAND
EXPON.DIST F.DIST F.DIST.RT F.INV F.INV.RT F.TEST FIELDVALUE FILTERXML FLOOR.MATH FLOOR.PRECISE
FORECAST.ETS FORECAST.LINEAR FORMULATEXT GAMMA GAMMA.DIST GAMMA.INV GAMMALN.PRECISE GAUSS HSTACK
HYPGEOM.DIST IFNA IFS IMCOSH IMCOT IMCSC IMSEC IMSINH IMTAN ISFORMULA ISO.CEILING ISOMITTED ISOWEEKNUM
LAMBDA LET LOGNORM.DIST LOGNORM.INV MAKEARRAY MAP MAXIFS MINIFS MODE.MULT MODE.SNGL MUNIT NEGBINOM.DIST
NORM.DIST NORM.INV NORM.S.DIST NORM.S.INV NUMBERVALUE PDURATION PERCENTILE.EXC PERCENTILE.INC
PERCENTRANK.EXC PERCENTRANK.INC PERMUTATIONA PHI POISSON.DIST QUARTILE.EXC QUARTILE.INC RANDARRAY RANK.AVG
RANK.EQ REDUCE RRI SCAN SEC SECH SEQUENCE SHEET SHEETS SINGLE SKEW.P SORTBY STDEV.P STDEV.S SWITCH T.DIST
T.DIST.2T T.DIST.RT T.INV T.INV.2T T.TEST TAKE TEXTAFTER TEXTBEFORE TEXTJOIN TEXTSPLIT TOCOL TOROW UNICHAR
UNICODE UNIQUE VALUETOTEXT VAR.P VAR.S VSTACK WEBSERVICE WEIBULL.DIST WRAPCOLS WRAPROWS XLOOKUP XMATCH XOR
Z.TEST
"""
PREFIXES = {name: "_xlfn." for name in _NEW.split()} | {"FILTER": "_xlfn._xlws.", "SORT": "_xlfn._xlws."}
# Not of them: files write these as they are.
for _plain in ("CEILING.PRECISE", "FLOOR.PRECISE", "ISO.CEILING"):
    PREFIXES.pop(_plain)

KNOWN = frozenset(FORMULAE) | frozenset(PREFIXES) | {"NETWORKDAYS.INTL", "WORKDAY.INTL"}

# They ask other programs or machines, or write what nobody sees; a graded workbook stands alone.
OUTSIDE = frozenset(
    ("CALL", "DDE", "EXEC", "IMAGE", "REGISTER.ID", "RTD", "SQL.REQUEST", "STOCKHISTORY", "WEBSERVICE")
)
# Where a reference is made from text or numbers, reading the formula does not tell what it reads.
DYNAMIC = frozenset(("INDIRECT", "OFFSET"))

# They take arrays in any cell; LibreOffice lets them do so in array formulas only.
ARRAYS_ANYWHERE = frozenset(("AGGREGATE",))

_BOTH_LACK = """
CUBEKPIMEMBER CUBEMEMBER CUBEMEMBERPROPERTY CUBERANKEDMEMBER CUBESET CUBESETCOUNT CUBEVALUE FIELDVALUE IMAGE
STOCKHISTORY
"""
_LIBREOFFICE_LACKS = """
ARRAYTOTEXT BYCOL BYROW CHOOSECOLS CHOOSEROWS DROP EXPAND HSTACK ISOMITTED LAMBDA MAKEARRAY MAP REDUCE SCAN
TAKE TEXTAFTER TEXTBEFORE TEXTSPLIT TOCOL TOROW VALUETOTEXT VSTACK WRAPCOLS WRAPROWS
"""
LACKING = {
    "LibreOffice": frozenset((_BOTH_LACK + _LIBREOFFICE_LACKS).split()),
    "ironcalc": frozenset(f"{_BOTH_LACK} AGGREGATE GETPIVOTDATA".split()),
}


def bare(name: str) -> str:
    """A function's name as a person types it."""
    upper = name.upper()
    for prefix in ("_XLFN._XLWS.", "_XLFN.", "_XLWS."):
        upper = upper.removeprefix(prefix)
    return upper


def written(name: str) -> str:
    """A function's name as a file writes it."""
    known = bare(name)
    return PREFIXES.get(known, "") + known
