"""The Module API. Generated from schemas/: do not edit."""

from __future__ import annotations

from typing import Any

from . import messages
from .caller import Caller


class ModuleApi(Caller):
    """Calls the homeserver, by Synapse's names. A call raises MatrixError when the homeserver refuses it, NoHomeserver when there is none, and TimeoutError."""

    async def properties(self) -> messages.PropertiesResponse:
        """See docs/module-api.md."""
        return await self.call("properties", messages.PropertiesRequest())  # type: ignore[no-any-return]

    async def get_userinfo_by_id(self, *, user_id: str) -> messages.GetUserinfoByIdResponse:
        """See docs/module-api.md."""
        return await self.call("get_userinfo_by_id", messages.GetUserinfoByIdRequest(user_id=user_id))  # type: ignore[no-any-return]

    async def get_user_by_req(self, *, access_token: str, allow_guest: bool = False, allow_expired: bool = False, ip: str | None = None, user_agent: str | None = None) -> messages.GetUserByReqResponse:
        """See docs/module-api.md."""
        return await self.call("get_user_by_req", messages.GetUserByReqRequest(access_token=access_token, allow_guest=allow_guest, allow_expired=allow_expired, ip=ip, user_agent=user_agent))  # type: ignore[no-any-return]

    async def is_user_admin(self, *, user_id: str) -> messages.IsUserAdminResponse:
        """See docs/module-api.md."""
        return await self.call("is_user_admin", messages.IsUserAdminRequest(user_id=user_id))  # type: ignore[no-any-return]

    async def set_user_admin(self, *, user_id: str, admin: bool = False) -> messages.SetUserAdminResponse:
        """See docs/module-api.md."""
        return await self.call("set_user_admin", messages.SetUserAdminRequest(user_id=user_id, admin=admin))  # type: ignore[no-any-return]

    async def get_profile_for_user(self, *, localpart: str) -> messages.GetProfileForUserResponse:
        """See docs/module-api.md."""
        return await self.call("get_profile_for_user", messages.GetProfileForUserRequest(localpart=localpart))  # type: ignore[no-any-return]

    async def get_threepids_for_user(self, *, user_id: str) -> messages.GetThreepidsForUserResponse:
        """See docs/module-api.md."""
        return await self.call("get_threepids_for_user", messages.GetThreepidsForUserRequest(user_id=user_id))  # type: ignore[no-any-return]

    async def check_user_exists(self, *, user_id: str) -> messages.CheckUserExistsResponse:
        """See docs/module-api.md."""
        return await self.call("check_user_exists", messages.CheckUserExistsRequest(user_id=user_id))  # type: ignore[no-any-return]

    async def check_username(self, *, username: str) -> messages.CheckUsernameResponse:
        """See docs/module-api.md."""
        return await self.call("check_username", messages.CheckUsernameRequest(username=username))  # type: ignore[no-any-return]

    async def register_user(self, *, localpart: str, displayname: str | None = None, emails: list[str] | None = None, admin: bool = False) -> messages.RegisterUserResponse:
        """See docs/module-api.md."""
        return await self.call("register_user", messages.RegisterUserRequest(localpart=localpart, displayname=displayname, emails=emails or [], admin=admin))  # type: ignore[no-any-return]

    async def register_device(self, *, user_id: str, device_id: str | None = None, initial_display_name: str | None = None) -> messages.RegisterDeviceResponse:
        """See docs/module-api.md."""
        return await self.call("register_device", messages.RegisterDeviceRequest(user_id=user_id, device_id=device_id, initial_display_name=initial_display_name))  # type: ignore[no-any-return]

    async def record_user_external_id(self, *, auth_provider_id: str, remote_user_id: str, registered_user_id: str) -> messages.RecordUserExternalIdResponse:
        """See docs/module-api.md."""
        return await self.call("record_user_external_id", messages.RecordUserExternalIdRequest(auth_provider_id=auth_provider_id, remote_user_id=remote_user_id, registered_user_id=registered_user_id))  # type: ignore[no-any-return]

    async def create_login_token(self, *, user_id: str, duration_in_ms: int | None = None, auth_provider_id: str | None = None, auth_provider_session_id: str | None = None) -> messages.CreateLoginTokenResponse:
        """See docs/module-api.md."""
        return await self.call("create_login_token", messages.CreateLoginTokenRequest(user_id=user_id, duration_in_ms=duration_in_ms, auth_provider_id=auth_provider_id, auth_provider_session_id=auth_provider_session_id))  # type: ignore[no-any-return]

    async def invalidate_access_token(self, *, access_token: str) -> messages.InvalidateAccessTokenResponse:
        """See docs/module-api.md."""
        return await self.call("invalidate_access_token", messages.InvalidateAccessTokenRequest(access_token=access_token))  # type: ignore[no-any-return]

    async def complete_sso_login_async(self, *, registered_user_id: str, client_redirect_url: str, new_user: bool = False, auth_provider_id: str | None = None, ip: str | None = None, user_agent: str | None = None) -> messages.CompleteSsoLoginAsyncResponse:
        """See docs/module-api.md."""
        return await self.call("complete_sso_login_async", messages.CompleteSsoLoginAsyncRequest(registered_user_id=registered_user_id, client_redirect_url=client_redirect_url, new_user=new_user, auth_provider_id=auth_provider_id, ip=ip, user_agent=user_agent))  # type: ignore[no-any-return]

    async def set_displayname(self, *, user_id: str, new_displayname: str) -> messages.SetDisplaynameResponse:
        """See docs/module-api.md."""
        return await self.call("set_displayname", messages.SetDisplaynameRequest(user_id=user_id, new_displayname=new_displayname))  # type: ignore[no-any-return]

    async def get_user_ip_and_agents(self, *, user_id: str, since_ts: int) -> messages.GetUserIpAndAgentsResponse:
        """See docs/module-api.md."""
        return await self.call("get_user_ip_and_agents", messages.GetUserIpAndAgentsRequest(user_id=user_id, since_ts=since_ts))  # type: ignore[no-any-return]

    async def get_monthly_active_users_by_service(self, *, start_timestamp: int | None = None, end_timestamp: int | None = None) -> messages.GetMonthlyActiveUsersByServiceResponse:
        """See docs/module-api.md."""
        return await self.call("get_monthly_active_users_by_service", messages.GetMonthlyActiveUsersByServiceRequest(start_timestamp=start_timestamp, end_timestamp=end_timestamp))  # type: ignore[no-any-return]

    async def store_remote_3pid_association(self, *, user_id: str, medium: str, address: str, id_server: str) -> messages.StoreRemote3pidAssociationResponse:
        """See docs/module-api.md."""
        return await self.call("store_remote_3pid_association", messages.StoreRemote3pidAssociationRequest(user_id=user_id, medium=medium, address=address, id_server=id_server))  # type: ignore[no-any-return]

    async def get_room_state(self, *, room_id: str, event_filter: list[messages.StateEventType] | None = None) -> messages.GetRoomStateResponse:
        """See docs/module-api.md."""
        return await self.call("get_room_state", messages.GetRoomStateRequest(room_id=room_id, event_filter=event_filter or []))  # type: ignore[no-any-return]

    async def get_state_events_in_room(self, *, room_id: str, types: list[messages.StateEventType] | None = None) -> messages.GetStateEventsInRoomResponse:
        """See docs/module-api.md."""
        return await self.call("get_state_events_in_room", messages.GetStateEventsInRoomRequest(room_id=room_id, types=types or []))  # type: ignore[no-any-return]

    async def create_and_send_event_into_room(self, *, event_dict: dict[str, Any] | None = None) -> messages.CreateAndSendEventIntoRoomResponse:
        """See docs/module-api.md."""
        return await self.call("create_and_send_event_into_room", messages.CreateAndSendEventIntoRoomRequest(event_dict=event_dict))  # type: ignore[no-any-return]

    async def update_room_membership(self, *, sender: str, target: str, room_id: str, new_membership: str, content: dict[str, Any] | None = None, remote_room_hosts: list[str] | None = None) -> messages.UpdateRoomMembershipResponse:
        """See docs/module-api.md."""
        return await self.call("update_room_membership", messages.UpdateRoomMembershipRequest(sender=sender, target=target, room_id=room_id, new_membership=new_membership, content=content, remote_room_hosts=remote_room_hosts or []))  # type: ignore[no-any-return]

    async def create_room(self, *, user_id: str, config: dict[str, Any] | None = None, ratelimit: bool | None = None, creator_join_profile: dict[str, Any] | None = None) -> messages.CreateRoomResponse:
        """See docs/module-api.md."""
        return await self.call("create_room", messages.CreateRoomRequest(user_id=user_id, config=config, ratelimit=ratelimit, creator_join_profile=creator_join_profile))  # type: ignore[no-any-return]

    async def delete_room(self, *, room_id: str) -> messages.DeleteRoomResponse:
        """See docs/module-api.md."""
        return await self.call("delete_room", messages.DeleteRoomRequest(room_id=room_id))  # type: ignore[no-any-return]

    async def lookup_room_alias(self, *, room_alias: str) -> messages.LookupRoomAliasResponse:
        """See docs/module-api.md."""
        return await self.call("lookup_room_alias", messages.LookupRoomAliasRequest(room_alias=room_alias))  # type: ignore[no-any-return]

    async def get_canonical_room_alias(self, *, room_id: str) -> messages.GetCanonicalRoomAliasResponse:
        """See docs/module-api.md."""
        return await self.call("get_canonical_room_alias", messages.GetCanonicalRoomAliasRequest(room_id=room_id))  # type: ignore[no-any-return]

    async def room_is_in_public_room_list(self, *, room_id: str) -> messages.RoomIsInPublicRoomListResponse:
        """See docs/module-api.md."""
        return await self.call("room_is_in_public_room_list", messages.RoomIsInPublicRoomListRequest(room_id=room_id))  # type: ignore[no-any-return]

    async def add_room_to_public_room_list(self, *, room_id: str) -> messages.AddRoomToPublicRoomListResponse:
        """See docs/module-api.md."""
        return await self.call("add_room_to_public_room_list", messages.AddRoomToPublicRoomListRequest(room_id=room_id))  # type: ignore[no-any-return]

    async def remove_room_from_public_room_list(self, *, room_id: str) -> messages.RemoveRoomFromPublicRoomListResponse:
        """See docs/module-api.md."""
        return await self.call("remove_room_from_public_room_list", messages.RemoveRoomFromPublicRoomListRequest(room_id=room_id))  # type: ignore[no-any-return]

    async def send_local_online_presence_to(self, *, users: list[str] | None = None) -> messages.SendLocalOnlinePresenceToResponse:
        """See docs/module-api.md."""
        return await self.call("send_local_online_presence_to", messages.SendLocalOnlinePresenceToRequest(users=users or []))  # type: ignore[no-any-return]

    async def set_presence_for_users(self, *, users: dict[str, PresenceUpdate] | None = None) -> messages.SetPresenceForUsersResponse:
        """See docs/module-api.md."""
        return await self.call("set_presence_for_users", messages.SetPresenceForUsersRequest(users=users))  # type: ignore[no-any-return]

    async def send_http_push_notification(self, *, user_id: str, device_id: str | None = None, content: dict[str, Any] | None = None, tweaks: dict[str, Any] | None = None, default_payload: dict[str, Any] | None = None) -> messages.SendHttpPushNotificationResponse:
        """See docs/module-api.md."""
        return await self.call("send_http_push_notification", messages.SendHttpPushNotificationRequest(user_id=user_id, device_id=device_id, content=content, tweaks=tweaks, default_payload=default_payload))  # type: ignore[no-any-return]

    async def set_push_rule_action(self, *, user_id: str, scope: str, kind: str, rule_id: str, actions: list[str] | None = None) -> messages.SetPushRuleActionResponse:
        """See docs/module-api.md."""
        return await self.call("set_push_rule_action", messages.SetPushRuleActionRequest(user_id=user_id, scope=scope, kind=kind, rule_id=rule_id, actions=actions or []))  # type: ignore[no-any-return]

    async def send_mail(self, *, recipient: str, subject: str, html: str, text: str) -> messages.SendMailResponse:
        """See docs/module-api.md."""
        return await self.call("send_mail", messages.SendMailRequest(recipient=recipient, subject=subject, html=html, text=text))  # type: ignore[no-any-return]

    async def send_federation_http_request(self, *, method: str, remote_server_name: str, path: str, query_parameters: dict[str, str] | None = None, body: dict[str, Any] | None = None, timeout: int | None = None) -> messages.SendFederationHttpRequestResponse:
        """See docs/module-api.md."""
        return await self.call("send_federation_http_request", messages.SendFederationHttpRequestRequest(method=method, remote_server_name=remote_server_name, path=path, query_parameters=query_parameters, body=body, timeout=timeout))  # type: ignore[no-any-return]

    async def get_global(self, *, user_id: str, data_type: str) -> messages.GetGlobalResponse:
        """See docs/module-api.md."""
        return await self.call("get_global", messages.GetGlobalRequest(user_id=user_id, data_type=data_type))  # type: ignore[no-any-return]

    async def put_global(self, *, user_id: str, data_type: str, new_data: dict[str, Any] | None = None) -> messages.PutGlobalResponse:
        """See docs/module-api.md."""
        return await self.call("put_global", messages.PutGlobalRequest(user_id=user_id, data_type=data_type, new_data=new_data))  # type: ignore[no-any-return]
