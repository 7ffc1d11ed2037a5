"""Which tables of a statement are bound to one mailbox, so that a distributed database finds its one node.

A table is bound where its `mailbox_id` equals a parameter, or the `mailbox_id` of something bound: by `=`, by a row
comparison, by USING, or by being the bound row of an enclosing query. `= ANY(...)` binds nothing.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pglast import ast, parse_sql
from pglast.enums.nodes import JoinType
from pglast.enums.parsenodes import A_Expr_Kind
from pglast.enums.primnodes import BoolExprType

KEY = "mailbox_id"

# Aliases of relations, each with whether its `mailbox_id` is known to be one mailbox's; None: it has no such column.
type Scope = Mapping[str, bool | None]


@dataclass(slots=True)
class Findings:
    """Names of tables: all that a statement reads or writes, and those that it does not bind."""

    tables: set[str] = field(default_factory=set)
    unbound: set[str] = field(default_factory=set)


def examine(sql: str) -> Findings:
    """Examine one statement of any kind."""
    findings = Findings()
    for raw in parse_sql(sql):
        _Query(findings, outer={}, ctes={}).examine(raw.stmt)
    return findings


class _Query:
    """One level of a statement: its relations, and which of them are bound."""

    def __init__(self, findings: Findings, *, outer: Scope, ctes: Scope) -> None:
        self._findings = findings
        self._outer = outer
        self._ctes = dict(ctes)
        self._bound: dict[str, bool | None] = {}
        # Alias and table of what must be bound here.
        self._tables: list[tuple[str, str]] = []
        # Pairs of aliases whose mailboxes are equal.
        self._equal: list[tuple[str, str]] = []
        self._laterals: list[tuple[str, Any]] = []

    def examine(self, statement: Any) -> bool | None:
        """Examine this level and those below; return whether the `mailbox_id` of its rows is that of one mailbox."""
        self._read_ctes(statement)
        if isinstance(statement, ast.SelectStmt) and statement.larg is not None:
            left, right = self._below(statement.larg), self._below(statement.rarg)
            return left and right
        self._read_relations(statement)
        self._read_condition(getattr(statement, "whereClause", None), binds=self._bound)
        self._settle()
        for alias, subselect in self._laterals:
            self._bound[alias] = self._below(subselect)
            self._settle()
        for node in self._expressions(statement):
            self._examine_subqueries(node)
        if isinstance(statement, ast.InsertStmt):
            self._examine_insert(statement)
        self._findings.unbound |= {table for alias, table in self._tables if not self._bound[alias]}
        return self._returns_bound(statement)

    def _below(self, statement: Any) -> bool | None:
        return _Query(self._findings, outer={**self._outer, **self._bound}, ctes=self._ctes).examine(statement)

    def _read_ctes(self, statement: Any) -> None:
        clause = getattr(statement, "withClause", None)
        if clause is None:
            return
        for cte in clause.ctes:
            if clause.recursive:
                self._ctes[cte.ctename] = False
            self._ctes[cte.ctename] = self._below(cte.ctequery)

    def _read_relations(self, statement: Any) -> None:
        target = getattr(statement, "relation", None)
        if isinstance(target, ast.RangeVar) and not isinstance(statement, ast.InsertStmt):
            self._read_relation(target)
        for name in ("fromClause", "usingClause"):
            for item in getattr(statement, name, None) or ():
                self._read_relation(item)

    def _read_relation(self, item: Any) -> None:
        match item:
            case ast.RangeVar():
                alias = item.alias.aliasname if item.alias else item.relname
                if item.relname in self._ctes and item.schemaname is None:
                    self._bound[alias] = self._ctes[item.relname]
                else:
                    self._bound[alias] = False
                    self._tables.append((alias, item.relname))
                    self._findings.tables.add(item.relname)
            case ast.RangeSubselect():
                # A name is not required of it.
                alias = item.alias.aliasname if item.alias else f"#{len(self._bound)}"
                if item.lateral:
                    self._laterals.append((alias, item.subquery))
                self._bound[alias] = None if item.lateral else self._below(item.subquery)
            case ast.JoinExpr():
                before = set(self._bound)
                self._read_relation(item.larg)
                left = set(self._bound) - before
                self._read_relation(item.rarg)
                right = set(self._bound) - before - left
                if any(name.sval == KEY for name in item.usingClause or ()):
                    # A column that USING merges is that of every relation on the left which was merged before.
                    self._equal += [(one, other) for one in left for other in right]
                # The condition of an outer join leaves the rows of one side, or of both, as they are.
                binds = {JoinType.JOIN_INNER: left | right, JoinType.JOIN_LEFT: right, JoinType.JOIN_RIGHT: left}
                self._read_condition(item.quals, binds=binds.get(item.jointype, set()))
            case _:
                # A function's rows: its column names say whether they have a mailbox.
                if item.alias is not None:
                    columns = {name.sval for name in item.alias.colnames or ()}
                    self._bound[item.alias.aliasname] = False if KEY in columns else None

    def _read_condition(self, condition: Any, *, binds: Collection[str]) -> None:
        """Take in equalities under AND; those with one mailbox bind only relations of `binds`."""
        match condition:
            case ast.BoolExpr() if condition.boolop == BoolExprType.AND_EXPR:
                for part in condition.args:
                    self._read_condition(part, binds=binds)
            case ast.A_Expr() if condition.kind == A_Expr_Kind.AEXPR_OP and condition.name[0].sval == "=":
                left, right = condition.lexpr, condition.rexpr
                if isinstance(left, ast.RowExpr) and isinstance(right, ast.RowExpr):
                    for one, other in zip(left.args, right.args, strict=True):
                        self._read_equality(one, other, binds)
                else:
                    self._read_equality(left, right, binds)

    def _read_equality(self, one: Any, other: Any, binds: Collection[str]) -> None:
        for this, that in ((one, other), (other, one)):
            for alias in self._aliases_of(this):
                if alias in binds and self._is_one_mailbox(that):
                    self._bound[alias] = True
                self._equal += [(alias, equal) for equal in self._aliases_of(that)]

    def _aliases_of(self, node: Any) -> list[str]:
        """List the relations of this level whose `mailbox_id` an expression is."""
        names = _names_of(node)
        if names == [KEY]:
            # Without a table: it is that of the only one, or USING has merged it.
            merged = {alias for pair in self._equal for alias in pair}
            having = [alias for alias, bound in self._bound.items() if bound is not None]
            return sorted(merged) or (having if len(having) == 1 else [])
        return [names[0]] if len(names) == 2 and names[1] == KEY and names[0] in self._bound else []

    def _is_one_mailbox(self, node: Any) -> bool:
        if isinstance(node, ast.TypeCast):
            return self._is_one_mailbox(node.arg)
        if isinstance(node, ast.ParamRef):
            return True
        names = _names_of(node)
        return len(names) == 2 and names[1] == KEY and names[0] not in self._bound and bool(self._outer.get(names[0]))

    def _settle(self) -> None:
        """Carry what is bound along equal mailboxes."""
        for _ in self._equal:
            for one, other in self._equal:
                if self._bound[one] or self._bound[other]:
                    self._bound[one] = self._bound[other] = True

    def _expressions(self, statement: Any) -> Iterator[Any]:
        """Yield the parts of a statement that can hold subqueries, other than relations and CTEs."""
        for name in statement:
            if name not in {"withClause", "relation", "larg", "rarg"}:
                yield getattr(statement, name)

    def _examine_subqueries(self, node: Any) -> None:
        match node:
            case tuple() | list():
                for each in node:
                    self._examine_subqueries(each)
            case ast.SubLink():
                self._examine_subqueries(node.testexpr)
                self._below(node.subselect)
            case ast.SelectStmt() | ast.RangeSubselect():
                pass
            case ast.Node():
                for name in node:
                    self._examine_subqueries(getattr(node, name))

    def _examine_insert(self, statement: Any) -> None:
        table = statement.relation.relname
        self._findings.tables.add(table)
        columns = [column.name for column in statement.cols or ()]
        source = statement.selectStmt
        # The target's row is the one that an ON CONFLICT clause reads.
        bound = KEY in columns and self._fills_bound(source, columns.index(KEY))
        if source is not None:
            self._below(source)
        if not bound:
            self._findings.unbound.add(table)

    def _fills_bound(self, source: Any, column: int) -> bool:
        """Whether an INSERT's column gets one mailbox's id in all rows."""
        if source is None:
            return False
        if source.valuesLists:
            return all(self._is_one_mailbox(row[column]) for row in source.valuesLists)
        inner = _Query(Findings(), outer={**self._outer, **self._bound}, ctes=self._ctes)
        inner.examine(source)
        return inner._is_bound_value(source.targetList[column].val)

    def _is_bound_value(self, value: Any) -> bool:
        aliases = self._aliases_of(value)
        return self._is_one_mailbox(value) or any(bool(self._bound[alias]) for alias in aliases)

    def _returns_bound(self, statement: Any) -> bool | None:
        """Whether the `mailbox_id` of the result is that of one mailbox; None if the result has none."""
        for target in getattr(statement, "targetList", None) or getattr(statement, "returningList", None) or ():
            names = _names_of(target.val)
            if target.name == KEY or (target.name is None and names[-1:] == [KEY]):
                return self._is_bound_value(target.val)
            if names[-1:] == ["*"]:
                keys = [self._bound.get(source) for source in names[:-1] or self._bound]
                return any(keys) if any(key is not None for key in keys) else None
        return None


def _names_of(node: Any) -> list[str]:
    """List the parts of a column's name, `*` for all columns; [] for another expression."""
    if not isinstance(node, ast.ColumnRef):
        return []
    return ["*" if isinstance(part, ast.A_Star) else part.sval for part in node.fields]
